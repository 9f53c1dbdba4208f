//! The console producer: each line of standard input or of a file is a record.
//!
//! Every record's delivery is waited for; the exit code is 0 only when all of them were acknowledged. Memory is bounded
//! by the library's queue: when it is full, reading stops until deliveries have made room.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use serde_json::json;

use super::args::{Acks, ClientArgs, ProduceArgs};
use super::client::{self, Quiet};
use super::output::{Failure, Out, count_of};

/// Longest line, bytes: the largest record the library can send.
const LINE_BYTES_MAX: u64 = 1_000_000_000;
/// How often progress is shown, and when it is shown first.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How the deliveries went, counted on whichever thread polls.
#[derive(Clone, Debug, Default)]
struct Tally {
    delivered: u64,
    failed: u64,
    first_error: Option<KafkaError>,
}

/// The library's callbacks: its log as everywhere, its deliveries into the tally.
struct Deliveries {
    quiet: Quiet,
    tally: Mutex<Tally>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.quiet.log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.quiet.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => tally.delivered += 1,
            Err((error, _)) => {
                tally.failed += 1;
                tally.first_error.get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// A producer as the shared set-up makes it.
struct Connection(BaseProducer<Deliveries>);

impl FromClientConfigAndContext<Quiet> for Connection {
    fn from_config_and_context(config: &ClientConfig, quiet: Quiet) -> Result<Connection, KafkaError> {
        let context = Deliveries { quiet, tally: Mutex::new(Tally::default()) };
        BaseProducer::from_config_and_context(config, context).map(Connection)
    }
}

impl Connection {
    fn tally(&self) -> Tally {
        self.0.context().tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends all lines and waits for all deliveries.
pub fn run(client: &ClientArgs, args: &ProduceArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let mut input: Box<dyn BufRead> = match &args.file {
        None => Box::new(std::io::stdin().lock()),
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| Failure::Message(format!("cannot open {}: {error}", path.display())))?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        }
    };
    let connection = connect(client, args)?;
    let mut progress = Progress::new();
    let sent = send_lines(&connection, args, &mut *input, &mut progress);
    let settled = settle(&connection, client, &mut progress);
    progress.clear();
    let tally = connection.tally();
    if out.is_json() {
        out.json(&json!({"topic": args.topic, "delivered": tally.delivered, "failed": tally.failed}))?;
    }
    sent?;
    if tally.failed > 0 || settled > 0 {
        let what = format!("{} not delivered to {}", count_of(tally.failed + settled, "record"), args.topic);
        let error = tally.first_error.unwrap_or(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
        let reason = client::explain(&error, &connection.0.context().quiet, client);
        return Err(Failure::Message(format!("{what} ({} delivered): {reason}", tally.delivered)));
    }
    if !out.is_json() && std::io::stderr().is_terminal() {
        eprintln!("{} delivered to {}", count_of(tally.delivered, "record"), args.topic);
    }
    Ok(())
}

fn connect(client: &ClientArgs, args: &ProduceArgs) -> Result<Connection, Failure> {
    let mut config = client::config(client);
    if args.idempotent && args.acks != Acks::All {
        return Err(Failure::new("--idempotent needs --acks all"));
    }
    config.set("acks", args.acks.name()).set("compression.type", args.compression.name());
    config.set("enable.idempotence", args.idempotent.to_string());
    config.set("message.timeout.ms", client::delivery_timeout(client).as_millis().to_string());
    let connection: Connection = client::finish(config, client)?;
    let quiet = &connection.0.context().quiet;
    let metadata =
        connection.0.client().fetch_metadata(Some(&args.topic), client::answer_timeout(client)).map_err(|error| {
            client::hear(quiet, |wait| connection.0.poll(wait));
            client::broker_failure(&error, &format!("topic {}", args.topic), quiet, client)
        })?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if let Some(partition) = args.partition
        && partitions > 0
        && partition as usize >= partitions
    {
        let last = partitions - 1;
        return Err(Failure::Message(format!("topic {} has no partition {partition}; its last is {last}", args.topic)));
    }
    Ok(connection)
}

/// Sends line after line until the input ends, a line is refused or a delivery has failed.
fn send_lines(
    connection: &Connection,
    args: &ProduceArgs,
    input: &mut dyn BufRead,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    let mut number: u64 = 0;
    while read_line(input, &mut line)? {
        number += 1;
        let (key, value) = split_line(&line, args.key_separator.as_deref()).ok_or_else(|| {
            Failure::Message(format!("line {number} has no key separator; nothing after it was sent"))
        })?;
        send_one(connection, args, key, value)
            .map_err(|error| Failure::Message(format!("line {number}: {}", describe(&error))))?;
        if number.is_multiple_of(256) {
            connection.0.poll(Duration::ZERO);
            let tally = connection.tally();
            if tally.failed > 0 {
                return Ok(());
            }
            progress.show(number, &tally);
        }
    }
    Ok(())
}

fn send_one(connection: &Connection, args: &ProduceArgs, key: Option<&[u8]>, value: &[u8]) -> Result<(), KafkaError> {
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&args.topic).payload(value);
    if let Some(key) = key {
        record = record.key(key);
    }
    if let Some(partition) = args.partition {
        record = record.partition(partition);
    }
    if !args.headers.is_empty() {
        let headers = args.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_bytes()) })
        });
        record = record.headers(headers);
    }
    loop {
        match connection.0.send(record) {
            Ok(()) => return Ok(()),
            // Every record in the queue leaves it at its delivery time-out at the latest, so this ends.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                connection.0.poll(Duration::from_millis(100));
                record = back;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Waits until nothing is in flight; the result is what still was when the time ran out.
fn settle(connection: &Connection, client: &ClientArgs, progress: &mut Progress) -> u64 {
    // The library gives every record up at its own time-out; the second that is added lets it say so.
    let deadline = Instant::now() + client::delivery_timeout(client) + Duration::from_secs(1);
    // Not yet batched records go out at once, without the wait for company.
    while connection.0.in_flight_count() > 0 && Instant::now() < deadline {
        let _still_in_flight = connection.0.flush(Duration::from_millis(200));
        let tally = connection.tally();
        progress.show(tally.delivered + tally.failed, &tally);
    }
    u64::try_from(connection.0.in_flight_count()).unwrap_or(0)
}

fn describe(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), client::reason)
}

/// Reads one line without its end (`\n` or `\r\n`); false at the end of the input.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> Result<bool, Failure> {
    line.clear();
    let count = input
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', line)
        .map_err(|error| Failure::Message(format!("cannot read the input: {error}")))?;
    if count as u64 == LINE_BYTES_MAX {
        return Err(Failure::Message(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(count > 0)
}

/// Key and value of a line; `None` when a separator is asked for and missing.
fn split_line<'a>(line: &'a [u8], separator: Option<&str>) -> Option<(Option<&'a [u8]>, &'a [u8])> {
    let Some(separator) = separator.filter(|separator| !separator.is_empty()) else { return Some((None, line)) };
    let at = line.windows(separator.len()).position(|window| window == separator.as_bytes())?;
    Some((Some(&line[..at]), &line[at + separator.len()..]))
}

/// One line on a terminal's standard error, rewritten once a second.
struct Progress {
    visible: bool,
    drawn: bool,
    started: Instant,
    next: Instant,
}

impl Progress {
    fn new() -> Progress {
        let now = Instant::now();
        // Somebody who types the records does not want to be written over.
        let visible = std::io::stderr().is_terminal() && !std::io::stdin().is_terminal();
        Progress { visible, drawn: false, started: now, next: now + PROGRESS_EVERY }
    }

    fn show(&mut self, sent: u64, tally: &Tally) {
        let now = Instant::now();
        if !self.visible || now < self.next {
            return;
        }
        self.next = now + PROGRESS_EVERY;
        self.drawn = true;
        let ms = u64::try_from((now - self.started).as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = tally.delivered.saturating_mul(1000) / ms;
        eprint!("\r{sent} sent, {} delivered, {} failed, {rate}/s  ", tally.delivered, tally.failed);
    }

    fn clear(&self) {
        if self.drawn {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_splits_at_the_first_separator() {
        assert_eq!(split_line(b"a::b::c", Some("::")), Some((Some(&b"a"[..]), &b"b::c"[..])));
        assert_eq!(split_line(b"::v", Some("::")), Some((Some(&b""[..]), &b"v"[..])));
        assert_eq!(split_line(b"plain", None), Some((None, &b"plain"[..])));
        assert_eq!(split_line(b"no key", Some("::")), None);
    }

    #[test]
    fn lines_lose_their_ends_and_the_last_needs_none() {
        let mut input: &[u8] = b"one\r\n\ntwo\xff";
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while read_line(&mut input, &mut line).unwrap() {
            lines.push(line.clone());
        }
        assert_eq!(lines, [b"one".to_vec(), b"".to_vec(), b"two\xff".to_vec()]);
    }
}
