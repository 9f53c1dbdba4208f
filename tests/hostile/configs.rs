//! Configs as a store that anybody may fill: names that nobody knows, values of any length, without end.

use std::time::Duration;

use kataract::wire::messages as m;
use kataract::wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kataract::wire::versions::key;

use crate::client::{Client, Heard};
use crate::node::Node;
use crate::requests::{self, decoded, text};

const VERSION: i16 = 1;
const BROKER: i8 = 4;
const POLICY_VIOLATION: i16 = 44;

/// Sets `values` of the default of all brokers; the error that is answered.
fn set(client: &mut Client, values: &[(String, String)]) -> i16 {
    let config = |(name, value): &(String, String)| {
        AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let resource =
        AlterConfigsResource::default().with_resource_type(BROKER).with_configs(values.iter().map(config).collect());
    let request = m::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.send(&requests::request(key::INCREMENTAL_ALTER_CONFIGS, VERSION, &request));
    let Heard::Answer(answer) = client.hear() else { panic!("not answered: {} values", values.len()) };
    let answer: m::IncrementalAlterConfigsResponse =
        decoded(key::INCREMENTAL_ALTER_CONFIGS, VERSION, answer).expect("an answer");
    answer.responses[0].error_code
}

#[test]
fn configs_that_nobody_knows_are_bounded_in_length_and_in_number() {
    let mut node = Node::start(&[]);
    let mut client = Client::connect(node.address);
    client.patience(Duration::from_secs(30));
    for number in 0..6 {
        let huge = (format!("huge-{number}"), "v".repeat(15 << 20));
        assert_ne!(set(&mut client, &[huge]), 0, "one value of 15 MiB");
    }
    assert_ne!(set(&mut client, &[("n".repeat(1 << 20), "v".to_owned())]), 0, "a name of 1 MiB");
    let many: Vec<(String, String)> = (0..300).map(|n| (format!("many-{n}"), "v".repeat(30_000))).collect();
    assert_eq!(set(&mut client, &many), POLICY_VIOLATION, "9 MB in one batch");
    // Bit by bit, until there is no room.
    let sets = (0..1_000).take_while(|n| set(&mut client, &[(format!("bit-{n}"), "v".repeat(30_000))]) == 0);
    let taken = sets.count();
    println!("{taken} values of 30,000 bytes; {} KiB above idle", node.peak_above_idle() >> 10);
    assert!((20..400).contains(&taken), "{taken} values");
    assert_eq!(set(&mut client, &[("last".to_owned(), "v".repeat(30_000))]), POLICY_VIOLATION);
    assert_eq!(
        set(&mut client, &[("log.retention.ms".to_owned(), "1000000".to_owned())]),
        0,
        "what is small still fits"
    );
    node.assert_unharmed();
}
