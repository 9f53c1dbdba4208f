//! The values of this broker, typed and checked once at start.

use std::collections::BTreeMap;

use crate::base::ids::NodeId;

use super::super::image::Image;
use super::listeners::{self, Listener};
use super::pins::PARTITION_CORES;
use super::value::{parse_bool, parse_list, parse_long};
use super::{SettingError, Update, broker_setting};

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The record is on stable storage.
    Stable,
    /// The record is in the page cache, as with Kafka.
    PageCache,
}

/// A controller of `controller.quorum.voters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub id: NodeId,
    pub host: String,
    pub port: u16,
}

/// The settings of this broker. Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerSettings {
    /// What the file says, key by key; the static step of every chain.
    values: BTreeMap<String, String>,
    pub node_id: NodeId,
    pub rack: Option<String>,
    /// Listeners for clients and brokers.
    pub listeners: Vec<Listener>,
    /// Listeners of the controller, never advertised; may be empty on a single node.
    pub controller_listeners: Vec<Listener>,
    /// One per entry of `listeners`. An empty host stands for this host's own name, which the node fills in.
    pub advertised_listeners: Vec<Listener>,
    pub inter_broker_listener: String,
    /// Empty: this node is the only voter.
    pub voters: Vec<Voter>,
    /// At least one.
    pub log_dirs: Vec<String>,
    /// `None`: the first of `log_dirs`.
    pub metadata_log_dir: Option<String>,
    pub metadata_segment_bytes: u64,
    pub metadata_segment_ms: u64,
    pub socket_request_max_bytes: usize,
    pub socket_listen_backlog: u32,
    /// `None`: idle connections stay.
    pub connections_idle_max_ms: Option<u64>,
    pub connections_max: u32,
    pub fetch_max_bytes: u64,
    pub fetch_session_slots: u32,
    pub describe_partitions_max: u32,
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    pub auto_create_topics: bool,
    pub delete_topics: bool,
    pub retention_check_interval_ms: u64,
    pub group_initial_rebalance_delay_ms: u64,
    pub group_session_timeout_min_ms: u64,
    pub group_session_timeout_max_ms: u64,
    pub group_size_max: u32,
    pub offset_metadata_max_bytes: u32,
    pub offsets_retention_ms: u64,
    pub offsets_retention_check_interval_ms: u64,
    pub offsets_partitions: i32,
    pub offsets_replication_factor: i16,
    pub offsets_segment_bytes: u64,
    pub producer_id_expiration_ms: u64,
    pub producer_id_expiration_check_ms: u64,
    /// Reads of at least so many bytes may be sent from the page cache.
    pub fetch_cache_bytes_min: u64,
    /// What is nearer to the end of a growing segment may not, bytes.
    pub fetch_cache_distance: u64,
    /// `None`: not said; the node fills in how many it has.
    pub cores: Option<u16>,
    /// auto, uring, posix or glommio.
    pub driver: String,
    /// `None`: a share of the machine's memory.
    pub memory_bytes: Option<u64>,
    /// Of each core; 0: none.
    pub journal_bytes: u64,
    /// Partitions a turn touches at least when it goes through the journal.
    pub journal_partitions: u64,
    /// `None`: not said; the node fills in what its memory has room for.
    pub partitions_max: Option<u64>,
    pub durability: Durability,
}

/// Reads keys one by one and gathers every complaint, so that a file is mended in one go.
struct Reader<'a> {
    values: &'a BTreeMap<String, String>,
    errors: Vec<SettingError>,
}

impl Reader<'_> {
    fn optional(&mut self, name: &str) -> Option<String> {
        let setting = broker_setting(name);
        crate::invariant!(setting.is_some(), "{name} is not a broker setting");
        let value = self.values.get(name).map(String::as_str).or(setting.and_then(|setting| setting.default))?;
        match setting.map_or(Ok(()), |setting| setting.check(value)) {
            Ok(()) => Some(value.to_owned()),
            Err(error) => {
                self.errors.push(error);
                setting.and_then(|setting| setting.default).map(str::to_owned)
            }
        }
    }

    fn text(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_default()
    }

    fn list(&mut self, name: &str) -> Vec<String> {
        parse_list(&self.text(name)).into_iter().map(str::to_owned).collect()
    }

    fn flag(&mut self, name: &str) -> bool {
        parse_bool(&self.text(name)).unwrap_or_default()
    }

    fn signed(&mut self, name: &str) -> i64 {
        parse_long(&self.text(name)).unwrap_or_default()
    }

    /// A number that must not be negative; where Kafka allows that it makes no sense here either, and is refused.
    fn number<T: TryFrom<i64> + Default>(&mut self, name: &str) -> T {
        let number = self.signed(name);
        T::try_from(number).unwrap_or_else(|_| {
            self.errors.push(SettingError::new(name, &number.to_string(), "Value must be at least 0"));
            T::default()
        })
    }

    /// A limit; negative means none.
    fn limit<T: TryFrom<i64>>(&mut self, name: &str) -> Option<T> {
        T::try_from(self.signed(name)).ok()
    }

    /// A size; 0 means "choose for me".
    fn chosen<T: TryFrom<i64>>(&mut self, name: &str) -> Option<T> {
        match self.signed(name) {
            0 => None,
            number => T::try_from(number).ok(),
        }
    }

    fn take<T>(&mut self, result: Result<T, SettingError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    fn complain(&mut self, name: &str, value: &str, reason: &str) {
        self.errors.push(SettingError::new(name, value, reason));
    }
}

/// What the listener keys say together.
struct Listeners {
    broker: Vec<Listener>,
    controller: Vec<Listener>,
    advertised: Vec<Listener>,
    inter_broker: String,
}

fn read_listeners(r: &mut Reader<'_>) -> Listeners {
    let names: Vec<String> = r.list("controller.listener.names").iter().map(|name| name.to_ascii_uppercase()).collect();
    let text = r.text("listeners");
    let parsed = listeners::parse("listeners", &text);
    let all = r.take(parsed).unwrap_or_default();
    r.take(listeners::check_ports("listeners", &all));
    let text = r.text("listener.security.protocol.map");
    let protocols = listeners::parse_protocols("listener.security.protocol.map", &text);
    if let Some(protocols) = r.take(protocols) {
        r.take(listeners::check_protocols("listeners", &all, &protocols, &names));
    }
    let (controller, broker): (Vec<Listener>, Vec<Listener>) =
        all.into_iter().partition(|listener| names.contains(&listener.name));
    if broker.is_empty() && r.errors.is_empty() {
        let text = r.text("listeners");
        r.complain("listeners", &text, "needs a listener that is not the controller's");
    }
    let advertised = read_advertised(r, &broker, &names);
    let inter_broker = r.optional("inter.broker.listener.name").map(|name| name.to_ascii_uppercase());
    if let Some(name) = inter_broker.as_ref().filter(|name| !broker.iter().any(|one| one.name == **name)) {
        r.complain("inter.broker.listener.name", name, "must name one of the listeners");
    }
    let first = broker.first().map(|listener| listener.name.clone());
    Listeners { inter_broker: inter_broker.or(first).unwrap_or_default(), broker, controller, advertised }
}

fn read_advertised(r: &mut Reader<'_>, broker: &[Listener], controllers: &[String]) -> Vec<Listener> {
    const KEY: &str = "advertised.listeners";
    let Some(text) = r.optional(KEY) else { return broker.to_vec() };
    let parsed = listeners::parse(KEY, &text);
    let mut advertised = r.take(parsed).unwrap_or_default();
    advertised.retain(|listener| !controllers.contains(&listener.name));
    for listener in &advertised {
        if listener.host == "0.0.0.0" || listener.host == "::" {
            r.complain(KEY, &listener.host, "clients cannot connect to this address; name one they can reach");
        }
        if !broker.iter().any(|one| one.name == listener.name) {
            r.complain(KEY, &listener.name, "must name one of the listeners");
        }
    }
    // A listener that is not advertised is advertised as it is.
    for listener in broker {
        if !advertised.iter().any(|one| one.name == listener.name) {
            advertised.push(listener.clone());
        }
    }
    advertised
}

fn read_voters(r: &mut Reader<'_>) -> Vec<Voter> {
    const KEY: &str = "controller.quorum.voters";
    let mut voters: Vec<Voter> = Vec::new();
    for element in r.list(KEY) {
        let parsed = element.split_once('@').and_then(|(id, address)| {
            let (host, port) = address.rsplit_once(':')?;
            let id = id.parse().ok().filter(|&id: &i32| id >= 0)?;
            Some(Voter { id: NodeId(id), host: host.to_owned(), port: port.parse().ok()? })
        });
        match parsed {
            Some(voter) if voters.iter().any(|other| other.id == voter.id) => {
                r.complain(KEY, &element, "each voter must have its own id");
            }
            Some(voter) => voters.push(voter),
            None => r.complain(KEY, &element, "must be id@host:port"),
        }
    }
    voters
}

impl BrokerSettings {
    /// Reads the static values of this broker. Keys this broker does not know are kept and not judged: see
    /// [`super::broker_key`].
    ///
    /// # Errors
    /// All values that are not allowed, each with what is.
    pub fn from_values(values: BTreeMap<String, String>) -> Result<BrokerSettings, Vec<SettingError>> {
        BrokerSettings::read(&values).map(|read| BrokerSettings { values, ..read })
    }

    /// The value the file gives for a key, if it gives one.
    pub fn static_value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// What `partition.cores` says now: this broker's dynamic value, else the file's.
    pub fn partition_cores<'a>(&'a self, image: &'a Image) -> &'a str {
        let dynamic = image.broker_config(self.node_id).get(PARTITION_CORES).map(|value| &**value);
        dynamic.or_else(|| self.static_value(PARTITION_CORES)).unwrap_or_default()
    }

    /// All static values, in order of their keys.
    pub fn static_values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// These settings with the dynamic values of the image on top, for settings that may change at run time. A value
    /// that is not legal is passed over and told. (What topics inherit from their broker is not here:
    /// [`super::effective`] looks at the image itself.)
    pub fn with_dynamic(&self, image: &Image) -> (BrokerSettings, Vec<SettingError>) {
        let mut dynamic = BTreeMap::new();
        let mut errors = Vec::new();
        for values in [image.broker_default_config(), image.broker_config(self.node_id)] {
            for (name, value) in values {
                let setting = broker_setting(name).filter(|setting| setting.update != Update::ReadOnly);
                match setting.map(|setting| setting.check(value)) {
                    Some(Ok(())) => {
                        dynamic.insert(name.to_string(), value.to_string());
                    }
                    Some(Err(error)) => errors.push(error),
                    None => {}
                }
            }
        }
        let mut settings = self.clone();
        let mut reader = Reader { values: &dynamic, errors: Vec::new() };
        // Where nothing is said the node may have put in what its memory has room for.
        if dynamic.contains_key("max.connections") {
            settings.connections_max = reader.number("max.connections");
        }
        if dynamic.contains_key("producer.id.expiration.ms") {
            settings.producer_id_expiration_ms = reader.number("producer.id.expiration.ms");
        }
        errors.append(&mut reader.errors);
        (settings, errors)
    }

    fn read(values: &BTreeMap<String, String>) -> Result<BrokerSettings, Vec<SettingError>> {
        let mut r = Reader { values, errors: Vec::new() };
        for (name, value) in values {
            if let Some(setting) = broker_setting(name) {
                r.take(setting.check(value));
            }
        }
        // Everything above is complained about already; reading starts with a clean sheet so that nothing is told
        // twice, and what it finds is what only several keys together can show.
        let alone = std::mem::take(&mut r.errors);
        let roles = r.list("process.roles");
        if alone.is_empty() && !(roles.iter().any(|r| r == "broker") && roles.iter().any(|r| r == "controller")) {
            r.complain("process.roles", &roles.join(","), "this version runs broker and controller in one node only");
        }
        let read = BrokerSettings::read_typed(&mut r);
        if alone.is_empty() && read.group_session_timeout_min_ms > read.group_session_timeout_max_ms {
            let value = read.group_session_timeout_min_ms.to_string();
            r.complain("group.min.session.timeout.ms", &value, "must not be above group.max.session.timeout.ms");
        }
        match (alone.is_empty(), r.errors.is_empty()) {
            (true, true) => Ok(read),
            (true, false) => Err(r.errors),
            (false, _) => Err(alone),
        }
    }

    fn read_typed(r: &mut Reader<'_>) -> BrokerSettings {
        let listeners = read_listeners(r);
        let log_dirs = if r.values.contains_key("log.dirs") { r.list("log.dirs") } else { r.list("log.dir") };
        if log_dirs.is_empty() || log_dirs.iter().any(String::is_empty) {
            r.complain("log.dirs", &log_dirs.join(","), "must name at least one folder, and no empty one");
        }
        BrokerSettings {
            values: BTreeMap::new(),
            node_id: NodeId(r.number("node.id")),
            rack: r.optional("broker.rack"),
            listeners: listeners.broker,
            controller_listeners: listeners.controller,
            advertised_listeners: listeners.advertised,
            inter_broker_listener: listeners.inter_broker,
            voters: read_voters(r),
            log_dirs,
            metadata_log_dir: r.optional("metadata.log.dir"),
            metadata_segment_bytes: r.number("metadata.log.segment.bytes"),
            metadata_segment_ms: r.number("metadata.log.segment.ms"),
            socket_request_max_bytes: r.number("socket.request.max.bytes"),
            socket_listen_backlog: r.number("socket.listen.backlog.size"),
            connections_idle_max_ms: r.limit("connections.max.idle.ms"),
            connections_max: r.number("max.connections"),
            fetch_max_bytes: r.number("fetch.max.bytes"),
            fetch_session_slots: r.number("max.incremental.fetch.session.cache.slots"),
            describe_partitions_max: r.number("max.request.partition.size.limit"),
            num_partitions: r.number("num.partitions"),
            default_replication_factor: r.number("default.replication.factor"),
            auto_create_topics: r.flag("auto.create.topics.enable"),
            delete_topics: r.flag("delete.topic.enable"),
            retention_check_interval_ms: r.number("log.retention.check.interval.ms"),
            group_initial_rebalance_delay_ms: r.number("group.initial.rebalance.delay.ms"),
            group_session_timeout_min_ms: r.number("group.min.session.timeout.ms"),
            group_session_timeout_max_ms: r.number("group.max.session.timeout.ms"),
            group_size_max: r.number("group.max.size"),
            offset_metadata_max_bytes: r.number("offset.metadata.max.bytes"),
            offsets_retention_ms: r.number::<u64>("offsets.retention.minutes").saturating_mul(60_000),
            offsets_retention_check_interval_ms: r.number("offsets.retention.check.interval.ms"),
            offsets_partitions: r.number("offsets.topic.num.partitions"),
            offsets_replication_factor: r.number("offsets.topic.replication.factor"),
            offsets_segment_bytes: r.number("offsets.topic.segment.bytes"),
            producer_id_expiration_ms: r.number("producer.id.expiration.ms"),
            producer_id_expiration_check_ms: r.number("producer.id.expiration.check.interval.ms"),
            cores: r.chosen("kataract.cores"),
            driver: r.text("kataract.driver"),
            memory_bytes: r.chosen("kataract.memory.bytes"),
            journal_bytes: r.number("kataract.journal.bytes"),
            journal_partitions: r.number("kataract.journal.partitions"),
            fetch_cache_bytes_min: r.number("kataract.fetch.cache.min.bytes"),
            fetch_cache_distance: r.number("kataract.fetch.cache.distance.bytes"),
            partitions_max: r.chosen("kataract.partitions.max"),
            durability: match r.text("kataract.log.durability").as_str() {
                "page-cache" => Durability::PageCache,
                _ => Durability::Stable,
            },
        }
    }
}
