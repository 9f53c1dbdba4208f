//! More than the node can carry: producers that send as fast as their sockets take it and read their answers late. The
//! node answers all of it, each connection in order, within its memory, and serves others meanwhile and at once after.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use kataract::batch::build::BatchBuilder;
use kataract::wire::messages as m;
use kataract::wire::versions::key;

use crate::CEILING;
use crate::client::Client;
use crate::node::Node;
use crate::requests::{self, decoded};
use crate::witness::Witness;

const CONNECTIONS: i32 = 8;
const REQUESTS: i32 = 1_500;
const TOPIC: &str = "overload";
/// How late the first answer is read.
const LATE: Duration = Duration::from_millis(700);
/// How long others may wait in the crowd; an unoptimised node on a busy machine gets more.
const CROWDED: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 5 });
const SOON: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

/// One connection's flood: everything is sent without a look at the answers. Says what was wrong with them.
fn flood(address: SocketAddr, number: i32) -> Result<(), String> {
    let mut builder = BatchBuilder::new(0);
    for _ in 0..15 {
        builder.push(requests::now_ms(), None, Some(&[number as u8; 1 << 10]));
    }
    let mut frame = requests::produce(&format!("{TOPIC}-{number}"), -1, &builder.finish());
    let mut reader = TcpStream::connect(address).map_err(|error| error.to_string())?;
    reader.set_read_timeout(Some(Duration::from_secs(60))).map_err(|error| error.to_string())?;
    let mut writer = reader.try_clone().map_err(|error| error.to_string())?;
    let sending = thread::spawn(move || {
        for correlation in 0..REQUESTS {
            frame[8..12].copy_from_slice(&correlation.to_be_bytes());
            writer.write_all(&frame)?;
        }
        std::io::Result::Ok(())
    });
    thread::sleep(LATE);
    for correlation in 0..REQUESTS {
        let mut length = [0; 4];
        reader.read_exact(&mut length).map_err(|error| format!("answer {correlation}: {error}"))?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        reader.read_exact(&mut answer).map_err(|error| format!("answer {correlation}: {error}"))?;
        if answer[..4] != correlation.to_be_bytes() {
            return Err(format!("answer {correlation} has the correlation id {:?}", &answer[..4]));
        }
        let produced: m::ProduceResponse = decoded(key::PRODUCE, 9, answer)?;
        let partition = &produced.responses[0].partition_responses[0];
        // Alone on its partition: each batch of 15 records lies behind the one before.
        if partition.error_code != 0 || partition.base_offset != i64::from(correlation) * 15 {
            return Err(format!("answer {correlation}: {partition:?}"));
        }
    }
    sending.join().expect("the sender does not panic").map_err(|error| format!("sending: {error}"))
}

#[test]
fn five_times_too_much_is_answered_in_order_and_within_memory() {
    let mut node = Node::start(&["kataract.memory.bytes=64000000"]);
    let mut admin = Client::connect(node.address);
    admin.patience(Duration::from_secs(30));
    for number in 0..CONNECTIONS {
        admin.ask(&requests::create_topic(&format!("{TOPIC}-{number}"), 1)).expect("a topic");
    }
    node.rest();
    let address = node.address;
    let floods: Vec<_> = (0..CONNECTIONS).map(|number| thread::spawn(move || flood(address, number))).collect();
    let mut witness = Witness::new(address, "crowd");
    while floods.iter().any(|flood| !flood.is_finished()) {
        witness.works(CROWDED).expect("others are served");
    }
    for (number, flood) in floods.into_iter().enumerate() {
        flood.join().expect("no panic").unwrap_or_else(|why| panic!("connection {number}: {why}"));
    }
    // The load is gone: the next step is served as if nothing had been.
    witness.works(SOON).expect("served at once");
    node.assert_memory(CEILING);
    node.assert_unharmed();
}
