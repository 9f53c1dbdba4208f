//! `partition.cores`: which partitions are pinned to which core of a node, as text and as data.
//!
//! The text is a list of `topic-partition:core`. Topic names may hold dashes, so the last one separates. A topic need
//! not exist: its pins count when it is made. Which cores there are only the node knows; [`check_cores`] is for it.

use std::fmt;

use super::value::parse_list;
use crate::base::limits::{CORES_MAX, TOPIC_NAME_LEN_MAX};

/// Name of the setting, and of the entry that tells the owners of a topic's partitions.
pub const PARTITION_CORES: &str = "partition.cores";
/// The controller's own topic: its log belongs to core 0.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// One partition that shall be owned by one core.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    pub topic: String,
    pub partition: i32,
    pub core: u16,
}

/// As the setting writes it.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}:{}", self.topic, self.partition, self.core)
    }
}

/// Topic and number of `topic-partition`; the last dash separates.
///
/// # Errors
/// A sentence that names what is wrong.
pub fn parse_partition(text: &str) -> Result<(&str, i32), String> {
    let (topic, number) = text.rsplit_once('-').ok_or_else(|| format!("{text} is not of the form topic-partition"))?;
    let number = digits(number).and_then(|number| i32::try_from(number).ok());
    let number = number.ok_or_else(|| format!("{text} does not end with the number of a partition"))?;
    let letters = topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if topic.is_empty() || topic.len() > TOPIC_NAME_LEN_MAX || matches!(topic, "." | "..") || !letters {
        return Err(format!("{text} does not begin with the name of a topic"));
    }
    Ok((topic, number))
}

/// A number without sign or blanks.
fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// The pins of a value of the setting, in its order.
///
/// # Errors
/// A sentence about the first entry that is wrong: its form, a partition that is named twice, the metadata log.
pub fn parse_pins(text: &str) -> Result<Vec<Pin>, String> {
    let mut pins: Vec<Pin> = Vec::new();
    for entry in parse_list(text) {
        let (partition, core) =
            entry.rsplit_once(':').ok_or_else(|| format!("{entry} is not of the form topic-partition:core"))?;
        let core = digits(core).and_then(|core| u16::try_from(core).ok());
        let core = core.filter(|core| usize::from(*core) < CORES_MAX);
        let core = core.ok_or_else(|| format!("{entry} does not end with a core from 0 to {}", CORES_MAX - 1))?;
        let (topic, partition) = parse_partition(partition)?;
        if topic == METADATA_TOPIC {
            return Err(format!("{entry}: the metadata log stays on core 0"));
        }
        pins.push(Pin { topic: topic.to_owned(), partition, core });
    }
    let mut sorted: Vec<(&str, i32)> = pins.iter().map(|pin| (pin.topic.as_str(), pin.partition)).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{}-{} is named twice", pair[0].0, pair[0].1)),
        None => Ok(pins),
    }
}

/// Refuses pins to cores that a node of so many does not have; a value that is no list of pins is somebody else's
/// finding.
///
/// # Errors
/// A sentence about the first such pin.
pub fn check_cores(text: &str, cores: u16) -> Result<(), String> {
    let pins = parse_pins(text).unwrap_or_default();
    match pins.iter().find(|pin| pin.core >= cores) {
        Some(pin) if cores == 1 => Err(format!("{pin}: the node has one core, 0")),
        Some(pin) => Err(format!("{pin}: the node has cores 0 to {}", cores.saturating_sub(1))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dash_separates_and_pins_print_as_they_are_read() {
        let text = "a-b-0:1,x.y_z-12:0,__consumer_offsets-3:1";
        let pins = parse_pins(&format!(" {} ", text.replace(',', " , "))).unwrap();
        assert_eq!(pins[0], Pin { topic: "a-b".to_owned(), partition: 0, core: 1 });
        let printed: Vec<String> = pins.iter().map(Pin::to_string).collect();
        assert_eq!(printed.join(","), text);
        assert_eq!(parse_pins(""), Ok(Vec::new()));
        assert_eq!(parse_pins("t-007:1").unwrap()[0].partition, 7, "one partition, however it is written");
    }

    #[test]
    fn what_is_no_pin_is_refused_and_named() {
        let wrong = [
            "t-0",
            "t:1",
            "t-0:",
            "t-0:x",
            "t-0:-1",
            "t-0:128",
            "-0:1",
            "t-:1",
            "t--1:1x",
            "t-x:1",
            "t-+1:0",
            "a b-0:1",
            "..-0:1",
            "t-0:1,",
            "t-99999999999:0",
            "t-2147483648:0",
        ];
        for text in wrong {
            assert!(parse_pins(text).is_err(), "{text}");
        }
        assert_eq!(parse_pins("t-0:1,u-0:0,t-00:0"), Err("t-0 is named twice".to_owned()));
        assert!(parse_pins("__cluster_metadata-0:1").unwrap_err().contains("stays on core 0"));
        assert_eq!(parse_pins("t--1:0").unwrap()[0].topic, "t-", "a dash may end a name");
    }

    #[test]
    fn a_pin_needs_a_core_that_is_there() {
        assert_eq!(check_cores("t-0:1", 2), Ok(()));
        assert_eq!(check_cores("t-0:1,u-0:2", 2), Err("u-0:2: the node has cores 0 to 1".to_owned()));
        assert_eq!(check_cores("t-0:1", 1), Err("t-0:1: the node has one core, 0".to_owned()));
    }
}
