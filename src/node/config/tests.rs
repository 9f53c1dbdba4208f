//! What configurations mean, and how wrong ones are explained.

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

fn id_and_folder(config: &NodeConfig) -> (i32, &str) {
    (config.node_id().0, config.data_dir.to_str().unwrap())
}

#[test]
fn nothing_at_all_is_a_node_on_the_loopback() {
    let config = load(&[]).unwrap();
    assert_eq!(id_and_folder(&config), (1, "./kataract-data"));
    let bound: Vec<String> = config.settings.listeners.iter().map(endpoint).collect();
    assert_eq!(bound, ["PLAINTEXT://127.0.0.1:9092"]);
    assert_eq!(config.advertised, config.settings.listeners);
    assert_eq!(config.settings.offsets_replication_factor, 1);
    assert_eq!((config.cores, config.driver), (None, Driver::Auto));
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn the_property_file_that_kafka_ships_works_unchanged() {
    let (config, _folder) = load_file(SHIPPED);
    let config = config.unwrap();
    assert_eq!(id_and_folder(&config), (1, "/tmp/kraft-combined-logs"));
    let bound: Vec<String> = config.settings.listeners.iter().map(endpoint).collect();
    assert_eq!(bound, ["PLAINTEXT://:9092"]);
    assert_eq!(endpoint(&config.advertised[0]), "PLAINTEXT://localhost:9092");
    let warnings = config.warnings.join("\n");
    assert!(warnings.contains("CONTROLLER://:9093 is not opened"), "{warnings}");
    assert!(warnings.contains("num.io.threads (line 15), "), "{warnings}");
    assert_eq!(config.warnings.len(), 2, "{warnings}");
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
    assert_eq!(id_and_folder(&config), (3, "/from/file"));
    assert!(config.warnings[0].contains("set again in line 2"), "{:?}", config.warnings);
    let config = load(&set(&[("node.id", "4"), ("log.dirs", "/from/set")]), None);
    assert_eq!(id_and_folder(&config), (4, "/from/set"));
    let config = load(&set(&[("log.dirs", "/a,/b")]), Some(Path::new("/from/flag")));
    assert_eq!(config.data_dir.to_str(), Some("/from/flag"));
}

#[test]
fn a_bad_value_names_key_value_line_and_what_is_allowed() {
    let (config, folder) = load_file("# first line\n\nnode.id=minus one\n");
    let path = folder.path().join("server.properties");
    let expected = "line 3: node.id=minus one: Not a number of type INT; allowed: a whole number from 0";
    let expected = format!("{}, {expected}", path.display());
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
        (vec![("process.roles", "broker")], "one node"),
        (vec![("log.dirs", "/a,/b")], "one folder"),
        (vec![("log.dirs", ",")], "at least one folder"),
        (vec![("metadata.log.dir", "/elsewhere")], "metadata.log.dir"),
        (vec![("controller.quorum.voters", "1@a:9093,2@b:9093")], "one voter"),
        (vec![("controller.quorum.voters", "11@a:9093")], "1@host:port"),
        (vec![("controller.quorum.bootstrap.servers", "elsewhere:9093")], "one voter"),
        (vec![("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")], "permissions"),
        (vec![("node.id", "-1")], "at least 0"),
    ] {
        let error = load(&pairs).expect_err(&format!("{pairs:?}"));
        assert!(error.contains(word) && error.starts_with("command line: "), "{pairs:?}: {error}");
    }
}

#[test]
fn an_authorizer_that_allows_everyone_is_a_warning() {
    let pairs = [
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("allow.everyone.if.no.acl.found", "true"),
    ];
    let config = load(&pairs).expect("nobody loses a protection");
    assert!(config.warnings.iter().any(|warning| warning.contains("authorizer.class.name")), "{:?}", config.warnings);
}

#[test]
fn listeners_that_cannot_work_are_refused_and_explained() {
    for (pairs, word) in [
        (vec![("listeners", "nonsense")], "NAME://host:port"),
        (vec![("listeners", "PLAINTEXT://h:99999")], "0 to 65535"),
        (vec![("listeners", "PLAINTEXT://::1:9092")], "brackets"),
        (vec![("listeners", "PLAINTEXT://a:1,PLAINTEXT://b:2")], "its own name"),
        (vec![("listeners", "SSL://a:1")], "only PLAINTEXT"),
        (vec![("listeners", "PLAINTEXT://a:1,B://a:1")], "its own port"),
        (vec![("listeners", "OUTSIDE://a:1")], "no security protocol"),
        (vec![("listeners", "OUTSIDE://a:1"), ("listener.security.protocol.map", "OUTSIDE:SASL_SSL")], "SASL_SSL"),
        (vec![("listener.security.protocol.map", "OUTSIDE")], "NAME:PROTOCOL"),
        (vec![("listeners", "CONTROLLER://a:1"), ("controller.listener.names", "CONTROLLER")], "not the controller's"),
        (vec![("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")], "cannot connect"),
        (vec![("advertised.listeners", "OTHER://a:9092")], "one of the listeners"),
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
    let bound: Vec<String> = config.settings.listeners.iter().map(endpoint).collect();
    assert_eq!(bound, ["INSIDE://10.0.0.1:9092", "OUTSIDE://[::1]:9094"]);
    let told: Vec<String> = config.advertised.iter().map(endpoint).collect();
    assert_eq!(told, ["INSIDE://10.0.0.1:9092", "OUTSIDE://broker.example.com:19094"], "in the order of the listeners");
    assert_eq!(config.settings.inter_broker_listener, "INSIDE");
}

#[test]
fn a_listener_on_all_addresses_advertises_the_hosts_name() {
    for host in ["", "0.0.0.0", "[::]"] {
        let config = load(&[("listeners", &format!("PLAINTEXT://{host}:0"))]).unwrap();
        let told = &config.advertised[0];
        assert!(!matches!(told.host.as_str(), "" | "0.0.0.0" | "::") && told.port == 0, "{told:?}");
    }
}

#[test]
fn an_unknown_key_is_an_error_with_the_nearest_known_one_and_all_faults_are_told_at_once() {
    let error = load(&[("num.partitons", "3"), ("no.such.thing.at.all", "1"), ("num.io.threads", "0")]).unwrap_err();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(
        lines,
        [
            "command line: no.such.thing.at.all is no setting of Kafka or Kataract",
            "command line: num.partitons is no setting of Kafka or Kataract; did you mean num.partitions?",
            "command line: num.io.threads=0: Value must be at least 1; allowed: a whole number from 1",
        ]
    );
}

#[test]
fn cores_and_driver_come_from_the_settings_unless_the_command_line_says_otherwise() {
    let pairs = set(&[("kataract.cores", "3"), ("kataract.driver", "posix")]);
    let source = ConfigSource { set: &pairs, ..ConfigSource::default() };
    let config = NodeConfig::load(&source).unwrap();
    assert_eq!((config.cores, config.driver), (Some(Cores::Count(3)), Driver::Posix));
    let flags = (Some(Cores::List(vec![1])), Some(Driver::Uring));
    let config = NodeConfig::load(&ConfigSource { cores: flags.0.clone(), driver: flags.1, ..source }).unwrap();
    assert_eq!((config.cores, Some(config.driver)), flags);
}

#[test]
fn an_empty_value_of_a_setting_without_default_is_none() {
    let config = load(&[("broker.rack", ""), ("advertised.listeners", " ")]).unwrap();
    assert_eq!(config.settings.rack, None);
    assert_eq!(config.advertised, config.settings.listeners);
}

#[test]
fn keys_of_families_that_are_not_there_yet_are_a_warning() {
    let config = load(&[("ssl.keystore.location", "/x")]).unwrap();
    let expected = "known, but not honoured by this version: ssl.keystore.location (command line)";
    assert_eq!(config.warnings, [expected]);
}
