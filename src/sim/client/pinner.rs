//! Pins partitions to cores, and wants each of them there: partitions move under everybody's feet while it works. The
//! only one who changes `partition.cores`, one request at a time.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::{Answer, Client, Cx, Line, Verdict, text, verdict};
use crate::meta::controller::OFFSETS_TOPIC;
use crate::meta::settings::{PARTITION_CORES, Pin};

/// Topic and broker in the protocol's count of resources.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Pins at the same time.
const PINS_MAX: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// Tells the node what is pinned now.
    Tell,
    /// Waits until the partition is where the pin says.
    Await(Pin),
}

/// The pinner.
#[derive(Debug)]
pub struct Pinner {
    line: Line,
    step: Option<Step>,
    pins: Vec<Pin>,
    left: u32,
}

impl Pinner {
    pub fn new(left: u32) -> Pinner {
        Pinner { line: Line::default(), step: None, pins: Vec::new(), left }
    }

    /// Changes one pin: a new one, another core for an old one, or none any more.
    fn choose(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut names: Vec<String> = cx.model.topics.keys().cloned().collect();
        names.push(OFFSETS_TOPIC.to_owned());
        let topic = names[cx.below(names.len() as u64) as usize].clone();
        // Also partitions that are not there yet, or never will be.
        let partition = cx.below(4) as i32;
        let core = cx.below(u64::from(cx.swarm.cores)) as u16;
        self.pins.retain(|pin| (pin.topic.as_str(), pin.partition) != (topic.as_str(), partition));
        if self.pins.len() == PINS_MAX {
            self.pins.remove(0);
        }
        if cx.chance(5, 6) {
            self.pins.push(Pin { topic, partition, core });
        }
        Some(Step::Tell)
    }

    fn send(&mut self, cx: &mut Cx<'_>) {
        match &self.step {
            Some(Step::Tell) => {
                let pins: Vec<String> = self.pins.iter().map(Pin::to_string).collect();
                let config = AlterableConfig::default()
                    .with_name(text(PARTITION_CORES))
                    .with_config_operation(0)
                    .with_value(Some(text(&pins.join(","))));
                let resource = AlterConfigsResource::default()
                    .with_resource_type(BROKER)
                    .with_resource_name(text("1"))
                    .with_configs(vec![config]);
                let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
                self.line.send(&request, 1, 0, true, cx);
            }
            Some(Step::Await(pin)) => {
                let resource = DescribeConfigsResource::default()
                    .with_resource_type(TOPIC)
                    .with_resource_name(text(&pin.topic))
                    .with_configuration_keys(Some(vec![text(PARTITION_CORES)]));
                let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
                self.line.send(&request, 4, 1, true, cx);
            }
            None => {}
        }
    }

    /// What comes after an answer; `None`: the same again.
    fn outcome(&mut self, answer: &Answer, cx: &mut Cx<'_>) -> Option<Option<Step>> {
        match self.step.clone()? {
            Step::Tell => {
                let response = answer.decode::<IncrementalAlterConfigsResponse>(cx)?;
                let told = response.responses.first()?;
                match verdict(told.error_code) {
                    Verdict::Done => Some(self.pins.last().cloned().map(Step::Await)),
                    Verdict::Later => None,
                    _ => {
                        let (pins, why) = (&self.pins, &told.error_message);
                        cx.model.fail(|| format!("pins {pins:?}: {} {why:?}", told.error_code));
                        None
                    }
                }
            }
            Step::Await(pin) => {
                let response = answer.decode::<DescribeConfigsResponse>(cx)?;
                let result = response.results.first()?;
                match verdict(result.error_code) {
                    Verdict::Done => {}
                    // A topic that is not there has no partition that could move.
                    Verdict::Gone => return Some(None),
                    Verdict::Later => return None,
                    Verdict::Wrong(error) => {
                        cx.model.fail(|| format!("DescribeConfigs of {}: {error:?}", pin.topic));
                        return None;
                    }
                }
                let owners = result.configs.first()?.value.as_ref()?.to_string();
                let owner = owners.split(',').filter_map(|entry| entry.split_once(':'));
                let owner =
                    owner.filter(|(number, _)| *number == pin.partition.to_string()).map(|(_, core)| core).next();
                match owner {
                    Some(core) if core != pin.core.to_string() => None,
                    _ => Some(None),
                }
            }
        }
    }
}

impl Client for Pinner {
    fn wake(&mut self, cx: &mut Cx<'_>) {
        if cx.draining {
            self.left = 0;
        }
        cx.wake_in_ms(100);
        if self.line.waiting() > 0 {
            return;
        }
        if self.step.is_none() {
            self.step = self.choose(cx);
        }
        self.send(cx);
    }

    fn answer(&mut self, answer: Answer, cx: &mut Cx<'_>) {
        match self.outcome(&answer, cx) {
            Some(next) => {
                let settled = next.is_none();
                self.step = next;
                let think = if settled { cx.below(cx.swarm.think_ms * 5_000_000 + 1) } else { 1_000 };
                cx.wake_in_ns = Some(think);
            }
            None => cx.wake_in_ms(20),
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        let ms = 1 + cx.below(100);
        cx.wake_in_ms(ms);
    }

    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn is_idle(&self) -> bool {
        self.left == 0 && self.step.is_none()
    }
}
