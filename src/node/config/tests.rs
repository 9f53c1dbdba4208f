use super::*;

/// Kafka 4's shipped server.properties: every key of it, its comments shortened.
const SHIPPED: &str = include_str!("shipped.properties");

fn set(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<NodeConfig, String> {
    NodeConfig::load(&ConfigSource { set: &set(pairs), ..ConfigSource::default() })
}

fn load_file(text: &str) -> (Result<NodeConfig, String>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.properties");
    std::fs::write(&path, text).unwrap();
    let loaded = NodeConfig::load(&ConfigSource { file: Some(&path), ..ConfigSource::default() });
    (loaded, folder)
}

#[test]
fn nothing_at_all_is_a_node_on_the_loopback() {
    let config = load(&[]).unwrap();
    assert_eq!((config.node_id, config.data_dir.to_str()), (NodeId(1), Some("./kataract-data")));
    let listener = &config.listeners.broker[0];
    assert_eq!(listener.bind.to_string(), "PLAINTEXT://127.0.0.1:9092");
    assert_eq!((listener.advertised_host.as_str(), listener.advertised_port), ("127.0.0.1", 9092));
    assert_eq!(config.properties["offsets.topic.replication.factor"], "1");
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn the_property_file_that_kafka_ships_works_unchanged() {
    let (config, _folder) = load_file(SHIPPED);
    let config = config.unwrap();
    assert_eq!(config.data_dir.to_str(), Some("/tmp/kraft-combined-logs"));
    let listener = &config.listeners.broker[0];
    assert_eq!((listener.bind.to_string().as_str(), config.listeners.broker.len()), ("PLAINTEXT://:9092", 1));
    assert_eq!(listener.advertised_host, "localhost");
    assert_eq!(config.listeners.controller[0].to_string(), "CONTROLLER://:9093");
    assert!(config.warnings.iter().any(|text| text.contains("CONTROLLER://:9093")), "{:?}", config.warnings);
}

#[test]
fn the_command_line_is_stronger_than_the_file_and_the_last_line_than_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p");
    std::fs::write(&path, "node.id=2\nnode.id=3\nlog.dirs=/from/file\n").unwrap();
    let load = |set: &[(String, String)], data| {
        NodeConfig::load(&ConfigSource { file: Some(&path), set, data, ..ConfigSource::default() }).unwrap()
    };
    let config = load(&[], None);
    assert_eq!((config.node_id, config.data_dir.to_str()), (NodeId(3), Some("/from/file")));
    assert!(config.warnings[0].contains("set again in line 2"), "{:?}", config.warnings);
    let config = load(&set(&[("node.id", "4"), ("log.dirs", "/from/set")]), None);
    assert_eq!((config.node_id, config.data_dir.to_str()), (NodeId(4), Some("/from/set")));
    let config = load(&set(&[("log.dirs", "/a,/b")]), Some(Path::new("/from/flag")));
    assert_eq!(config.data_dir.to_str(), Some("/from/flag"));
}

#[test]
fn a_bad_value_names_key_value_line_and_what_is_allowed() {
    let (config, folder) = load_file("# first line\n\nnode.id=minus one\n");
    let path = folder.path().join("server.properties");
    let expected = format!("{}, line 3: node.id=minus one: must be a number from 0 to 2147483647", path.display());
    assert_eq!(config.unwrap_err(), expected);
}

#[test]
fn a_file_that_is_missing_or_no_property_file_is_named() {
    let missing = ConfigSource { file: Some(Path::new("/no/such/file")), ..ConfigSource::default() };
    assert!(NodeConfig::load(&missing).unwrap_err().contains("/no/such/file"));
    let (config, _folder) = load_file("a=\\u12\n");
    let error = config.unwrap_err();
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn what_one_node_cannot_do_is_refused_and_explained() {
    for (pairs, word) in [
        (vec![("process.roles", "broker")], "broker,controller"),
        (vec![("log.dirs", "/a,/b")], "one folder"),
        (vec![("log.dirs", ",")], "must name a folder"),
        (vec![("metadata.log.dir", "/elsewhere")], "metadata.log.dir"),
        (vec![("controller.quorum.voters", "1@a:9093,2@b:9093")], "one voter"),
        (vec![("controller.quorum.voters", "11@a:9093")], "1@host:port"),
        (vec![("controller.quorum.bootstrap.servers", "elsewhere:9093")], "one voter"),
        (vec![("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")], "permissions"),
        (vec![("node.id", "-1")], "0 to 2147483647"),
    ] {
        let error = load(&pairs).expect_err(&format!("{pairs:?}"));
        assert!(error.contains(word) && error.starts_with("command line: "), "{pairs:?}: {error}");
    }
}

#[test]
fn listeners_that_cannot_work_are_refused_and_explained() {
    for (pairs, word) in [
        (vec![("listeners", "nonsense")], "NAME://host:port"),
        (vec![("listeners", "PLAINTEXT://h:99999")], "NAME://host:port"),
        (vec![("listeners", "PLAINTEXT://::1:9092")], "NAME://host:port"),
        (vec![("listeners", "PLAINTEXT://a:1,PLAINTEXT://b:2")], "twice"),
        (vec![("listeners", "SSL://a:1")], "only PLAINTEXT"),
        (vec![("listeners", "OUTSIDE://a:1")], "needs an entry"),
        (vec![("listeners", "OUTSIDE://a:1"), ("listener.security.protocol.map", "OUTSIDE:SASL_SSL")], "SASL_SSL"),
        (vec![("listener.security.protocol.map", "OUTSIDE")], "NAME:PROTOCOL"),
        (vec![("listeners", "CONTROLLER://a:1"), ("controller.listener.names", "CONTROLLER")], "for clients"),
        (vec![("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")], "no address"),
        (vec![("advertised.listeners", "OTHER://a:9092")], "not among the listeners"),
        (vec![("inter.broker.listener.name", "OTHER")], "one of the listeners"),
        (vec![("security.inter.broker.protocol", "SSL")], "only PLAINTEXT"),
    ] {
        let error = load(&pairs).expect_err(&format!("{pairs:?}"));
        assert!(error.contains(word), "{pairs:?}: {error}");
    }
}

#[test]
fn several_listeners_may_have_names_of_their_own() {
    let config = load(&[
        ("listeners", "INSIDE://10.0.0.1:9092, outside://[::1]:9094"),
        ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT"),
        ("advertised.listeners", "OUTSIDE://broker.example.com:19094"),
        ("inter.broker.listener.name", "inside"),
    ])
    .unwrap();
    let text: Vec<String> = config.listeners.broker.iter().map(|listener| listener.bind.to_string()).collect();
    assert_eq!(text, ["INSIDE://10.0.0.1:9092", "OUTSIDE://[::1]:9094"]);
    let outside = &config.listeners.broker[1];
    assert_eq!((outside.advertised_host.as_str(), outside.advertised_port), ("broker.example.com", 19094));
    assert_eq!(config.listeners.inter_broker, "INSIDE");
}

#[test]
fn a_listener_on_all_addresses_advertises_the_hosts_name() {
    for host in ["", "0.0.0.0", "[::]"] {
        let config = load(&[("listeners", &format!("PLAINTEXT://{host}:0"))]).unwrap();
        let listener = &config.listeners.broker[0];
        assert!(!matches!(listener.advertised_host.as_str(), "" | "0.0.0.0" | "::"), "{listener:?}");
        assert_eq!(listener.advertised_port, 0);
    }
}

#[test]
fn keys_of_families_that_are_not_there_yet_are_a_warning() {
    let config = load(&[("ssl.keystore.location", "/x")]).unwrap();
    assert_eq!(config.warnings, ["command line: ssl.keystore.location is not honoured by this version"]);
}
