//! Records as a real Apache Kafka 4.2 broker wrote them (a static console consumer that joined, committed and died),
//! read from its `__consumer_offsets-0` folder.

use super::super::records::*;
use super::*;

const KEY_GROUP: &str = "00020009672d636c6173736963";
const VALUE_STABLE: &str = "\
    00030008636f6e73756d657200000001000572616e6765002b696e73742d312d30636166376430372d313962382d34373366\
    2d396331322d376461323735313134613639000001a1fca8291b00000001002b696e73742d312d30636166376430372d3139\
    62382d343733662d396331322d3764613237353131346136390006696e73742d310003636c69000a2f3132372e302e302e31\
    000493e0000017700000001800030000000100027431ffffffff00000000ffffffffffff0000001a00030000000100027431\
    000000020000000000000001ffffffff";
const KEY_OFFSET: &str = "00010009672d636c61737369630002743100000000";
const VALUE_OFFSET: &str = "000400000000000000140000000001000001a1fca83cda00";
const VALUE_EMPTY: &str = "00030008636f6e73756d657200000002ffffffff000001a1fca860ab00000000";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn kafkas_own_records_load_into_a_stable_group_with_its_offset() {
    let now = Now { mono: Mono(5), wall_ms: 1_795_240_300_000 };
    let mut coordinator = Coordinator::new(GroupSettings::default(), 1);
    coordinator.replay(&hex(KEY_GROUP), Some(&hex(VALUE_STABLE)), now).unwrap();
    coordinator.replay(&hex(KEY_OFFSET), Some(&hex(VALUE_OFFSET)), now).unwrap();
    coordinator.replay(&[0, 17, 1, 2, 3], Some(&[9]), now).expect("key types of other machines are skipped");
    coordinator.loaded(now);
    let group = coordinator.group("g-classic").expect("loaded");
    assert_eq!(group.classic.state, GroupState::Stable);
    assert_eq!((group.classic.generation, group.classic.protocol.as_deref()), (1, Some("range")));
    let member = group.classic.members.values().next().expect("a member");
    assert_eq!(member.id, "inst-1-0caf7d07-19b8-473f-9c12-7da275114a69");
    assert_eq!(member.instance_id.as_deref(), Some("inst-1"));
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("cli", "/127.0.0.1"));
    assert_eq!((member.rebalance_timeout_ms, member.session_timeout_ms), (300_000, 6_000));
    assert_eq!(group.classic.subscribed.as_ref().map(|t| t.iter().cloned().collect()), Some(vec!["t1".to_owned()]));
    let committed = group.offsets.get("t1", 0).expect("an offset");
    assert_eq!((committed.offset, committed.leader_epoch, committed.commit_ms), (20, 0, 1_795_240_246_490));
    assert_eq!(group.classic.record().value.as_deref(), Some(&hex(VALUE_STABLE)[..]), "written back byte for byte");
    assert_eq!(group.classic.record().key, hex(KEY_GROUP));
    let record = offset_record("g-classic", "t1", 0, committed);
    assert_eq!(record.value.as_deref(), Some(&hex(VALUE_OFFSET)[..]));
    assert_eq!(record.key, hex(KEY_OFFSET));
}

#[test]
fn the_record_of_an_empty_group_is_kafkas() {
    let bytes = hex(VALUE_EMPTY);
    let stored = read_group(&bytes).unwrap();
    let group = group_classic::ClassicGroup::restore("g-classic", &stored, Now::default());
    assert_eq!((group.state, group.generation, group.state_ms), (GroupState::Empty, 2, Some(1_795_240_255_659)));
    assert_eq!(group.record().value.as_deref(), Some(&bytes[..]));
}

#[test]
fn offset_values_of_all_versions_are_read() {
    let v1 = [&[0, 1][..], &7i64.to_be_bytes(), &[0, 1, b'm'], &8i64.to_be_bytes(), &9i64.to_be_bytes()].concat();
    let read = read_offset(&v1).unwrap();
    assert_eq!((read.offset, &*read.metadata, read.commit_ms, read.expire_ms), (7, "m", 8, Some(9)));
    assert_eq!(
        offset_record("g", "t", 0, &read).value.as_deref(),
        Some(&v1[..]),
        "a retention is written as version 1"
    );
    let v3 = [&[0, 3][..], &7i64.to_be_bytes(), &5i32.to_be_bytes(), &[0, 0], &8i64.to_be_bytes()].concat();
    assert_eq!(read_offset(&v3).unwrap().leader_epoch, 5);
    let known = Committed { topic_id: Uuid([6; 16]), ..read_offset(&v3).unwrap() };
    let record = offset_record("g", "t", 0, &known);
    assert_eq!(read_offset(record.value.as_deref().unwrap()), Ok(known), "the topic id is a tagged field");
    let unknown = ReplayError::ValueVersionUnknown { key_type: 1, version: 5 };
    assert_eq!(read_offset(&[0, 5, 0]), Err(unknown));
}

#[test]
fn group_values_of_old_versions_are_read_without_what_they_lack() {
    // Version 0: no state timestamp, no rebalance timeout, no instance id.
    let mut v0 = hex("00000008636f6e73756d657200000001000572616e676500016100000001");
    v0.extend(hex("00016100016300016800001770000000060000000000000000000161"));
    let stored = read_group(&v0).unwrap();
    assert_eq!((stored.state_ms, stored.members[0].rebalance_timeout_ms), (None, -1));
    let group = group_classic::ClassicGroup::restore("g", &stored, Now::default());
    assert_eq!(group.members["a"].rebalance_timeout_ms, 6_000, "the session timeout stands in");
}

#[test]
fn every_cut_of_a_record_is_refused_and_none_panics() {
    let (value, key) = (hex(VALUE_STABLE), hex(KEY_OFFSET));
    for end in 0..value.len() {
        assert!(read_group(&value[..end]).is_err(), "{end} bytes of a group");
    }
    for end in 0..key.len() {
        assert_eq!(read_key(&key[..end]), Err(ReplayError::KeyMalformed), "{end} bytes of a key");
    }
    for at in 0..value.len() {
        let mut damaged = value.clone();
        damaged[at] ^= 0xff;
        if let Ok(stored) = read_group(&damaged) {
            group_classic::ClassicGroup::restore("g", &stored, Now::default());
        }
    }
}

/// Kafka's `DumpLogSegments --offsets-decoder` reads exactly these bytes as topic id BgYGBgYGBgYGBgYGBgYGBg with
/// metadata "mé", and as expireTimestamp 77.
#[test]
fn topic_ids_and_client_retentions_are_written_as_kafkas_tools_read_them() {
    let committed = read_offset(&hex(VALUE_OFFSET)).unwrap();
    let known = Committed { topic_id: Uuid([6; 16]), metadata: "mé".into(), ..committed.clone() };
    let record = offset_record("g", "t", 3, &known);
    assert_eq!(record.key, hex("000100016700017400000003"));
    let bytes = "0004000000000000001400000000046dc3a9000001a1fca83cda01001006060606060606060606060606060606";
    assert_eq!(record.value.as_deref(), Some(&hex(bytes)[..]));
    let expiring = Committed { expire_ms: Some(77), ..committed };
    let bytes = "000100000000000000140000000001a1fca83cda000000000000004d";
    assert_eq!(offset_record("g", "t", 3, &expiring).value.as_deref(), Some(&hex(bytes)[..]));
}
