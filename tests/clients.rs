//! Real Kafka clients of several languages against real node processes, with each driver, kills and restarts included.
//!
//! The contract of the programs is `tests/clients/README.md`. A client whose tool is not installed prints one line
//! `skipped: ...`; with `KATARACT_REQUIRE_CLIENTS=1` it fails instead. With `KATARACT_TEST_BROKER=host:port` the
//! programs speak to that broker, for instance Apache Kafka, and what must kill or look into a node is left out.
//! Everything has a time limit, and what was started is ended by its own handle.
#![allow(clippy::disallowed_methods, reason = "the harness runs processes, reads clocks and files")]

#[path = "clients/broker.rs"]
mod broker;
#[path = "clients/build.rs"]
mod build;
#[path = "clients/console.rs"]
mod console;
#[path = "clients/dump_log.rs"]
mod dump_log;
#[path = "clients/librdkafka.rs"]
mod librdkafka;
#[path = "clients/librdkafka_group.rs"]
mod librdkafka_group;
#[path = "clients/moving.rs"]
mod moving;
#[path = "clients/running.rs"]
mod running;
#[path = "clients/survive.rs"]
mod survive;
#[path = "clients/taking_over.rs"]
mod taking_over;

use std::time::Duration;

use broker::{Broker, Driver};
use build::Client;
use running::Running;

/// Longest time one scenario may take against a healthy node; Kafka itself needs a third of it.
const SCENARIO_LIMIT: Duration = Duration::from_secs(180);

/// One scenario of one client against a node of its own.
fn scenario(client: Client, name: &str, driver: Driver) {
    let Some(broker) = Broker::for_test(driver) else { return };
    if !broker.offers(name) {
        return;
    }
    let Some(mut running) = Running::start(client, broker.address(), name) else { return };
    running.end_input();
    match running.wait(SCENARIO_LIMIT) {
        Ok(line) => eprintln!("{client:?} {name} on {driver:?}: {line}"),
        Err(why) => panic!("{client:?} {name} on {driver:?}: {why}\n{}", broker.log_tail()),
    }
}

macro_rules! with_each_driver {
    ($($test:ident: $run:path, $($argument:expr),*;)*) => {
        mod posix {
            $(#[test] fn $test() { $run($($argument,)* super::Driver::Posix) })*
        }
        mod uring {
            $(#[test] fn $test() { $run($($argument,)* super::Driver::Uring) })*
        }
        #[cfg(feature = "glommio")]
        mod glommio {
            $(#[test] fn $test() { $run($($argument,)* super::Driver::Glommio) })*
        }
    };
}

with_each_driver! {
    librdkafka_roundtrip: super::scenario, super::Client::Librdkafka, "roundtrip";
    librdkafka_idempotent: super::scenario, super::Client::Librdkafka, "idempotent";
    librdkafka_group: super::scenario, super::Client::Librdkafka, "group";
    librdkafka_survives_kills: super::survive::survive, super::Client::Librdkafka;
    librdkafka_under_moving_partitions: super::moving::moving,;
    kafka_configs_pins_partitions: super::moving::kafka_tool,;
    java_roundtrip: super::scenario, super::Client::Java, "roundtrip";
    java_idempotent: super::scenario, super::Client::Java, "idempotent";
    java_group: super::scenario, super::Client::Java, "group";
    java_group_of_the_server: super::scenario, super::Client::Java, "group848";
    java_admin: super::scenario, super::Client::Java, "admin";
    java_transactions: super::scenario, super::Client::Java, "transactions";
    java_survives_kills: super::survive::survive, super::Client::Java;
    go_roundtrip: super::scenario, super::Client::Go, "roundtrip";
    go_idempotent: super::scenario, super::Client::Go, "idempotent";
    go_group: super::scenario, super::Client::Go, "group";
    go_transactions: super::scenario, super::Client::Go, "transactions";
    go_survives_kills: super::survive::survive, super::Client::Go;
    node_roundtrip: super::scenario, super::Client::Node, "roundtrip";
    node_idempotent: super::scenario, super::Client::Node, "idempotent";
    node_group: super::scenario, super::Client::Node, "group";
    node_survives_kills: super::survive::survive, super::Client::Node;
    python_roundtrip: super::scenario, super::Client::Python, "roundtrip";
    python_idempotent: super::scenario, super::Client::Python, "idempotent";
    python_group: super::scenario, super::Client::Python, "group";
    python_survives_kills: super::survive::survive, super::Client::Python;
    console_tools_manage_write_and_read: super::console::tools,;
    console_tools_read_partitions_offsets_and_settings: super::console::partition_tools,;
    console_perf_tools_move_every_record: super::console::perf_tools,;
    kafka_dump_log_reads_the_folders_of_a_node: super::dump_log::dump_log,;
    a_folder_that_kafka_closed_is_taken_over: super::taking_over::taking_over, true;
    a_folder_that_kafka_left_in_a_crash_is_taken_over: super::taking_over::taking_over, false;
}
