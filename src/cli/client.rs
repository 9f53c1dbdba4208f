//! What the client commands share: the librdkafka configuration, its silence, and errors that name the broker.
//!
//! librdkafka does its work on threads of its own; a command waits for it with a bound and never for ever.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::args::ClientArgs;
use super::output::Failure;

/// Deliveries may take longer than single answers, because they wait behind each other: times `--timeout`.
const DELIVERY_FACTOR: u32 = 3;

/// The library's voice: silent unless asked for, but the last complaint is kept for our own error message.
#[derive(Debug, Default)]
pub struct Quiet {
    verbose: bool,
    complaint: Mutex<Option<String>>,
}

impl Quiet {
    pub fn new(client: &ClientArgs) -> Quiet {
        Quiet { verbose: client.verbose, complaint: Mutex::new(None) }
    }

    /// The last thing that went wrong between the library and a broker.
    pub fn last_complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn complain(&self, text: &str) {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" || facility == "ERROR" {
            // "[thrd:x]: host:port/bootstrap: Connect to host:port failed: Connection refused (after 0ms in state y)"
            let told = message.split_once("]: ").map_or(message, |(_, rest)| rest);
            self.complain(told.split(" (after ").next().unwrap_or(told));
        }
        if self.verbose {
            eprintln!("librdkafka {level:?} {facility}: {message}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if self.verbose {
            eprintln!("librdkafka: {error}: {reason}");
        }
    }
}

impl ConsumerContext for Quiet {}

/// How long one answer may take.
pub fn answer_timeout(client: &ClientArgs) -> Duration {
    Duration::from_secs(u64::from(client.timeout))
}

/// How long the last record may take from its sending to its acknowledgement.
pub fn delivery_timeout(client: &ClientArgs) -> Duration {
    answer_timeout(client) * DELIVERY_FACTOR
}

/// The configuration that every client starts from. Properties given with `-X` are applied last by [`finish`].
pub fn config(client: &ClientArgs) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &client.bootstrap);
    config.set("client.id", "kataract-cli");
    config.set("socket.timeout.ms", (client.timeout * 1000).max(1000).to_string());
    config.set("reconnect.backoff.max.ms", "1000");
    config.set_log_level(if client.verbose { RDKafkaLogLevel::Info } else { RDKafkaLogLevel::Error });
    config
}

/// Applies the properties of the command line and makes the client.
pub fn finish<T>(mut config: ClientConfig, client: &ClientArgs) -> Result<T, Failure>
where
    T: rdkafka::config::FromClientConfigAndContext<Quiet>,
{
    for (key, value) in &client.properties {
        config.set(key, value);
    }
    config.create_with_context(Quiet::new(client)).map_err(|error| match error {
        KafkaError::ClientConfig(_, reason, key, value) => {
            Failure::Message(format!("client property {key}={value}: {reason}"))
        }
        KafkaError::ClientCreation(reason) => Failure::Message(format!("cannot set up a client: {reason}")),
        other => Failure::Message(format!("cannot set up a client: {other}")),
    })
}

/// A client to ask with: of all kinds the one that never creates a topic by asking for it.
pub fn observer(client: &ClientArgs) -> Result<BaseConsumer<Quiet>, Failure> {
    finish(config(client), client)
}

/// Asks for metadata: of one topic or of all. The first call of every command, so it is the one that finds no broker.
pub fn metadata(consumer: &BaseConsumer<Quiet>, client: &ClientArgs, topic: Option<&str>) -> Result<Metadata, Failure> {
    consumer.fetch_metadata(topic, answer_timeout(client)).map_err(|error| {
        hear(consumer.context(), |wait| {
            let _nothing_is_subscribed = consumer.poll(wait);
        });
        broker_failure(&error, "the cluster's metadata", consumer.context(), client)
    })
}

/// The library's log waits in its queue until somebody polls, and the reason of a failure is in it: polls for a moment.
pub fn hear(quiet: &Quiet, mut poll: impl FnMut(Duration)) {
    for _ in 0..10 {
        poll(Duration::from_millis(20));
        if quiet.last_complaint().is_some() {
            return;
        }
    }
}

/// The failure of a step: what was asked, and [`explain`]. A missing broker needs no step to be understood.
pub fn broker_failure(error: &KafkaError, asked: &str, quiet: &Quiet, client: &ClientArgs) -> Failure {
    let reason = explain(error, quiet, client);
    if is_unreachable(error) { Failure::Message(reason) } else { Failure::Message(format!("{asked}: {reason}")) }
}

/// Our words for an error of the library: a missing broker is named as such, everything else keeps its own words.
pub fn explain(error: &KafkaError, quiet: &Quiet, client: &ClientArgs) -> String {
    if !is_unreachable(error) {
        return error.rdkafka_error_code().map_or_else(|| error.to_string(), reason);
    }
    let why = quiet.last_complaint().map(|complaint| format!(": {complaint}")).unwrap_or_default();
    let waited = super::output::count_of(u64::from(client.timeout), "second");
    format!("no answer from {} within {waited}{why}", client.bootstrap)
}

fn is_unreachable(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::MessageTimedOut
        )
    )
}

/// The library's words for an error code, without its "Broker: " in front.
pub fn reason(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    // The display form is "Code (Broker: words)": the words are what a person wants.
    let inner = text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(&text);
    inner.trim_start_matches("Broker: ").trim_start_matches("Local: ").to_owned()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread for an answer that arrives on one of the library's; the request carries its own time-out.
pub fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> ClientArgs {
        // Port 1 of the loopback: nothing listens there, the connection is refused at once.
        ClientArgs { bootstrap: "127.0.0.1:1".to_owned(), timeout: 1, properties: Vec::new(), verbose: false }
    }

    #[test]
    fn a_missing_broker_is_named_after_a_bounded_wait() {
        let client = nobody();
        let consumer = observer(&client).unwrap();
        let Err(Failure::Message(message)) = metadata(&consumer, &client, None) else { panic!("a broker on port 1?") };
        assert!(message.starts_with("no answer from 127.0.0.1:1 within 1 second: "), "{message}");
        assert!(message.ends_with("Connection refused"), "{message}");
    }

    #[test]
    fn an_unknown_client_property_is_named() {
        let mut client = nobody();
        client.properties.push(("no.such.thing".to_owned(), "1".to_owned()));
        let Err(Failure::Message(message)) = observer(&client) else { panic!("accepted") };
        assert!(message.contains("no.such.thing"), "{message}");
    }

    #[test]
    fn waiting_gives_the_answer_of_another_thread() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut started = false;
        let answer = std::future::poll_fn(move |context| {
            if !started {
                started = true;
                let (waker, sender) = (context.waker().clone(), sender.clone());
                std::thread::spawn(move || {
                    sender.send(7).expect("the receiver waits");
                    waker.wake();
                });
            }
            receiver.try_recv().map_or(Poll::Pending, Poll::Ready)
        });
        assert_eq!(wait(answer), 7);
    }
}
