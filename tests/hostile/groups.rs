//! Members of groups that want to be remembered with more than the coordinators have room for.

use kataract::wire::messages as m;
use kataract::wire::messages::join_group_request::JoinGroupRequestProtocol;
use kataract::wire::versions::key;

use crate::CEILING;
use crate::client::{Client, Heard};
use crate::node::Node;
use crate::requests::{self, decoded, text};

const GROUP_MAX_SIZE_REACHED: i16 = 81;
/// Before this version a member needs no id to be taken in, and stays for its whole session.
const VERSION: i16 = 2;

fn join(group: &str, metadata_bytes: usize) -> Vec<u8> {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(vec![7; metadata_bytes].into());
    let request = m::JoinGroupRequest::default()
        .with_group_id(text(group).into())
        .with_session_timeout_ms(1_800_000)
        .with_rebalance_timeout_ms(1_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    requests::request(key::JOIN_GROUP, VERSION, &request)
}

#[test]
fn members_with_much_metadata_and_long_sessions_share_one_budget() {
    let mut node = Node::start(&["group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=4"]);
    let mut client = Client::connect(node.address);
    let mut coordinator = 15;
    while coordinator == 15 {
        let request = m::FindCoordinatorRequest::default().with_key(text("hoarder-0"));
        client.send(&requests::request(key::FIND_COORDINATOR, 0, &request));
        let Heard::Answer(answer) = client.hear() else { panic!("FindCoordinator was not answered") };
        let found: m::FindCoordinatorResponse = decoded(key::FIND_COORDINATOR, 0, answer).expect("an answer");
        coordinator = found.error_code;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let mut taken = 0;
    let mut refused = 0;
    for number in 0..200 {
        client.send(&join(&format!("hoarder-{number}"), 1_000_000));
        let Heard::Answer(answer) = client.hear() else { panic!("JoinGroup {number} was not answered") };
        let answer: m::JoinGroupResponse = decoded(key::JOIN_GROUP, VERSION, answer).expect("a JoinGroup answer");
        match answer.error_code {
            0 => taken += 1,
            GROUP_MAX_SIZE_REACHED => refused += 1,
            // The coordinator is being loaded.
            14 => std::thread::sleep(std::time::Duration::from_millis(50)),
            other => panic!("JoinGroup {number}: error {other}"),
        }
    }
    println!("{taken} members taken in, {refused} refused; {} KiB more", node.peak_above_idle() >> 10);
    assert!(taken > 5 && refused > 100, "{taken} taken in, {refused} refused");
    assert!(node.peak_above_idle() <= CEILING, "{} KiB", node.peak_above_idle() >> 10);
    // Somebody with the few bytes that clients really send is refused, too, until there is room: full is an answer.
    client.send(&join("modest", 100));
    assert!(matches!(client.hear(), Heard::Answer(_)));
    node.assert_unharmed();
}
