//! What a decision may be, whoever asked for it: a batch that Kafka could write, and configs that every core's picture
//! has room for. A decision beyond is refused as a whole; the start of the node is not asked here, since what it
//! repeats was within bounds when it was decided.

use super::super::image::{Image, config_entry_bytes};
use super::super::record::Record;
use super::super::settings::BrokerSettings;
use super::{Answer, Decision, MetaError, PARTITIONS_MAX, Refusal};

/// Largest batch of metadata records, bytes (Kafka's limit is 8 MiB, headers included).
pub const BATCH_BYTES_MAX: usize = (8 << 20) - 4096;
/// What the batch adds to each record, bytes at most: lengths, deltas, no key.
const RECORD_OVERHEAD_BYTES: usize = 24;
/// Configs that any cluster has room for, bytes as [`config_entry_bytes`] counts them.
const CONFIG_BYTES_MIN: usize = 1 << 20;
/// What each partition that the node has room for adds to that, bytes: a topic of one partition has half a dozen
/// values.
const CONFIG_BYTES_PER_PARTITION: usize = 512;

/// `decision`, or its refusal.
pub(super) fn keep(image: &Image, broker: &BrokerSettings, decision: Decision) -> Decision {
    match exceeded(image, broker, &decision.records) {
        None => decision,
        Some(message) => refuse(decision, &Refusal::new(MetaError::PolicyViolation, message)),
    }
}

fn exceeded(image: &Image, broker: &BrokerSettings, records: &[Record]) -> Option<String> {
    let mut batch_bytes = 0;
    for record in records {
        batch_bytes += record.encode().len() + RECORD_OVERHEAD_BYTES;
        if batch_bytes > BATCH_BYTES_MAX {
            return Some("The request changes more than one batch of metadata records can hold.".to_owned());
        }
    }
    let more = |record: &Record| match record {
        Record::Config(config) => {
            config.value.as_ref().map_or(0, |value| config_entry_bytes(&config.resource_name, &config.name, value))
        }
        _ => 0,
    };
    let more: usize = records.iter().map(more).sum();
    // What a value replaces still counts here: near the bound, delete first.
    (more > 0 && image.config_bytes() + more > config_bytes_max(broker))
        .then(|| "The configurations of this cluster take all the memory there is for them.".to_owned())
}

fn config_bytes_max(broker: &BrokerSettings) -> usize {
    let partitions = broker.partitions_max.map_or(PARTITIONS_MAX, |max| PARTITIONS_MAX.min(max as usize));
    CONFIG_BYTES_MIN + partitions * CONFIG_BYTES_PER_PARTITION
}

/// Every item that would have been carried out is refused; what was refused already keeps its reason.
fn refuse(decision: Decision, refusal: &Refusal) -> Decision {
    let mut answer = decision.answer;
    match &mut answer {
        Answer::TopicsCreated(topics) => topics.iter_mut().for_each(|(_, result)| deny(result, refusal)),
        Answer::TopicsDeleted(topics) => topics.iter_mut().for_each(|topic| deny(&mut topic.result, refusal)),
        Answer::PartitionsCreated(topics) => topics.iter_mut().for_each(|(_, result)| deny(result, refusal)),
        Answer::ConfigsAltered(resources) => resources.iter_mut().for_each(|one| deny(&mut one.result, refusal)),
        Answer::ProducerIds(result) => deny(result, refusal),
        Answer::Registered { .. } => {}
    }
    Decision { records: Vec::new(), answer }
}

fn deny<T>(result: &mut Result<T, Refusal>, refusal: &Refusal) {
    if result.is_ok() {
        *result = Err(refusal.clone());
    }
}
