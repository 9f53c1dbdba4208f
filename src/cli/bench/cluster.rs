//! The cluster under test, asked through the client library: topics made, found, awaited and deleted, leaders, offsets.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;

use super::raw::Leader;
use super::workload::Workload;
use crate::cli::args::ClientArgs;
use crate::cli::client::{self, Quiet};
use crate::cli::output::Failure;

/// How long a fresh topic may take until each of its partitions answers.
const READY_LIMIT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(50);

/// One cluster, reached.
pub struct Cluster {
    client: ClientArgs,
    observer: BaseConsumer<Quiet>,
    admin: AdminClient<Quiet>,
}

/// Offsets of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("bootstrap", &self.client.bootstrap).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Fails with the broker's name when nobody answers.
    pub fn reach(client: &ClientArgs) -> Result<Cluster, Failure> {
        let observer = client::observer(client)?;
        client::metadata(&observer, client, None)?;
        let admin = client::finish(client::config(client), client)?;
        Ok(Cluster { client: client.clone(), observer, admin })
    }

    pub fn client(&self) -> &ClientArgs {
        &self.client
    }

    fn options(&self) -> AdminOptions {
        let timeout = client::answer_timeout(&self.client);
        AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
    }

    /// Makes a topic and waits until every partition answers.
    pub fn make_topic(&self, name: &str, workload: &Workload) -> Result<(), Failure> {
        let replication = TopicReplication::Fixed(workload.replication_factor);
        let settings = workload.topic_settings.iter();
        let topic = settings
            .fold(NewTopic::new(name, workload.partitions, replication), |topic, (key, value)| topic.set(key, value));
        let answer = client::wait(self.admin.create_topics([&topic], &self.options()));
        let answer = answer.map_err(|error| {
            client::broker_failure(&error, &format!("topic {name}"), self.admin.inner().context(), &self.client)
        })?;
        for result in answer {
            if let Err((topic, code)) = result {
                return Err(Failure::new(format!("cannot make topic {topic}: {}", client::reason(code))));
            }
        }
        self.await_topic(name, workload.partitions)
    }

    fn await_topic(&self, name: &str, partitions: i32) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_LIMIT;
        let mut waiting = 0;
        loop {
            // Partitions that answered once are not asked again.
            while waiting < partitions && self.offsets_of(name, waiting).is_ok() {
                waiting += 1;
            }
            if waiting == partitions {
                return Ok(());
            }
            if Instant::now() > deadline {
                let limit = READY_LIMIT.as_secs();
                return Err(Failure::new(format!("partition {name}-{waiting} does not answer within {limit} s")));
            }
            std::thread::sleep(READY_POLL);
        }
    }

    /// Deletes a topic that was made here; a failure is told, it does not spoil the result.
    pub fn delete_topic(&self, name: &str) {
        let answer = client::wait(self.admin.delete_topics(&[name], &self.options()));
        let failed = match answer {
            Err(error) => Some(error.to_string()),
            Ok(results) => results.into_iter().find_map(|result| result.err().map(|(_, code)| client::reason(code))),
        };
        if let Some(why) = failed {
            eprintln!("kataract: topic {name} stays, it could not be deleted: {why}");
        }
    }

    fn metadata(&self, topic: &str) -> Result<Metadata, Failure> {
        client::metadata(&self.observer, &self.client, Some(topic))
    }

    /// Who leads which partitions of a topic.
    pub fn leaders(&self, topic: &str) -> Result<Vec<Leader>, Failure> {
        let metadata = self.metadata(topic)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(Failure::new(format!("topic {topic} does not exist")));
        };
        if let Some(error) = found.error() {
            let code = RDKafkaErrorCode::from(error);
            return Err(Failure::new(format!("topic {topic}: {}", client::reason(code))));
        }
        let mut leaders = Vec::new();
        for broker in metadata.brokers() {
            let led = found.partitions().iter().filter(|partition| partition.leader() == broker.id());
            let mut partitions: Vec<i32> = led.map(|partition| partition.id()).collect();
            partitions.sort_unstable();
            let port = u16::try_from(broker.port())
                .map_err(|_| Failure::new(format!("broker {} names the port {}", broker.id(), broker.port())))?;
            if !partitions.is_empty() {
                leaders.push(Leader { host: broker.host().to_owned(), port, partitions });
            }
        }
        let led: usize = leaders.iter().map(|leader| leader.partitions.len()).sum();
        if led < found.partitions().len() || led == 0 {
            return Err(Failure::new(format!("topic {topic} has partitions without a leader")));
        }
        Ok(leaders)
    }

    fn offsets_of(&self, topic: &str, partition: i32) -> Result<Offsets, rdkafka::error::KafkaError> {
        let timeout = client::answer_timeout(&self.client);
        let (start, end) = self.observer.fetch_watermarks(topic, partition, timeout)?;
        Ok(Offsets { partition, start, end })
    }

    /// First and next offset of each partition.
    pub fn offsets(&self, topic: &str, partitions: &[i32]) -> Result<Vec<Offsets>, Failure> {
        let ask = |&partition: &i32| {
            self.offsets_of(topic, partition).map_err(|error| {
                let what = format!("offsets of {topic}-{partition}");
                client::broker_failure(&error, &what, self.observer.context(), &self.client)
            })
        };
        partitions.iter().map(ask).collect()
    }
}
