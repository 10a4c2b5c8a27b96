//! From what an operator said to what the relay does: defaults, checks, credentials.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lapin::uri::AMQPUri;
use zoutbox_format::limits::MAX_POINTED;
use zoutbox_relay_core::{LaneOptions, Mode, OnDamage, OnUndeliverable, Rules, RunOptions};
use zoutbox_storage::{System, misplaces_password};

use crate::amqp::AmqpSettings;
use crate::doorbell::DoorbellOptions;
use crate::engine::{EngineOptions, WindowSize};
use crate::error::RelayError;
use crate::options::{Damaged, Options, Undelivered, read_text};
use crate::remove::Retention;
use crate::units::{Size, Span};

/// What is declared when a queue is to be declared and no exchange is named.
const OWN_EXCHANGE: &str = "zoutbox";

/// How often new writers are looked for, unless even known ones are looked at less often.
const DISCOVER_EVERY: Duration = Duration::from_secs(1);

/// Where to publish.
#[derive(Debug, Clone)]
pub enum Destination {
    /// Lines of JSON on standard output.
    Stdout,
    /// A broker.
    Amqp(Box<AmqpSettings>),
}

/// Credentials from outside the command line.
#[derive(Clone, Default)]
pub struct Environment {
    /// `ZOUTBOX_AMQP_URL`.
    pub url: Option<String>,
    /// `ZOUTBOX_AMQP_PASSWORD`.
    pub password: Option<String>,
}

impl Environment {
    /// This process's.
    #[must_use]
    pub fn read() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        Self { url: variable("ZOUTBOX_AMQP_URL"), password: variable("ZOUTBOX_AMQP_PASSWORD") }
    }
}

/// Where to publish, as the options say.
///
/// # Errors
/// [`RelayError::Option`], never with a password in it.
pub fn destination(
    system: &System,
    options: &Options,
    environment: &Environment,
) -> Result<Destination, RelayError> {
    if options.stdout {
        return Ok(Destination::Stdout);
    }
    let (option, url) = match (&options.amqp, &environment.url) {
        (Some(url), _) => ("--amqp", url),
        (None, Some(url)) => ("ZOUTBOX_AMQP_URL", url),
        (None, None) => {
            return Err(invalid("--amqp", "give the broker's URL, or --stdout"));
        }
    };
    if misplaces_password(url) {
        return Err(invalid(
            option,
            "an '@' behind the host: a password with / ? or # in it has them as %2F %3F %23",
        ));
    }
    let mut uri: AMQPUri = url
        .parse()
        .map_err(|_| invalid(option, "not a broker's URL: amqp://user@host:port/vhost, or amqps://…"))?;
    let explicit = url.rsplit_once('@').is_some_and(|(before, _)| {
        before.trim_start_matches("amqps://").trim_start_matches("amqp://").contains(':')
    });
    if explicit && option == "--amqp" && uri.authority.userinfo.password != "guest" {
        tracing::warn!(
            "--amqp has a password in it, which everybody on this host can see: use ZOUTBOX_AMQP_PASSWORD or --password-file"
        );
    }
    if let Some(path) = &options.password_file {
        let text = read_text(system, "--password-file", path)?;
        text.trim_end_matches(['\r', '\n']).clone_into(&mut uri.authority.userinfo.password);
    } else if let Some(password) = environment.password.as_ref().filter(|_| !explicit) {
        uri.authority.userinfo.password.clone_from(password);
    }
    let ca = options.ca_file.as_ref().map(|path| read_text(system, "--ca-file", path)).transpose()?;
    let (exchange, declare_exchange) = exchange(options);
    Ok(Destination::Amqp(Box::new(AmqpSettings {
        uri,
        ca,
        bind: bindings(options, &exchange)?,
        exchange,
        declare_exchange,
        declare_queue: options.declare_queue.clone(),
        queue_type: options.queue_type.unwrap_or_default(),
        confirm_timeout: span(options.confirm_timeout, Duration::from_mins(1)),
    })))
}

/// The exchange, and its type if it is to be declared. Whoever declares a queue and names no exchange wants every record in that
/// queue; nothing can be bound to the default exchange, so they get one of ours.
fn exchange(options: &Options) -> (String, Option<String>) {
    match (&options.exchange, &options.declare_queue) {
        (None, Some(_)) => (OWN_EXCHANGE.into(), Some("topic".into())),
        (exchange, _) => (exchange.clone().unwrap_or_default(), options.declare_exchange.clone()),
    }
}

/// Which keys the declared queue is bound with. On the default exchange every queue is bound by its name, and by nothing else.
fn bindings(options: &Options, exchange: &str) -> Result<Vec<String>, RelayError> {
    if exchange.is_empty() && options.declare_exchange.is_some() {
        return Err(invalid("--declare-exchange", "needs --exchange"));
    }
    if options.declare_queue.is_none() || exchange.is_empty() {
        return if options.bind.is_empty() {
            Ok(Vec::new())
        } else {
            Err(invalid("--bind", "needs --exchange and --declare-queue"))
        };
    }
    match (options.bind.is_empty(), options.declare_exchange.as_deref()) {
        (false, _) => Ok(options.bind.clone()),
        (true, Some("direct")) => {
            Err(invalid("--bind", "a direct exchange routes only topics that are bound: name them"))
        }
        (true, _) => Ok(vec!["#".into()]),
    }
}

/// How to relay, as the options say.
///
/// # Errors
/// [`RelayError::Option`].
pub fn engine(options: &Options) -> Result<EngineOptions, RelayError> {
    let window = WindowSize {
        messages: options.window.unwrap_or(4096),
        bytes: options.window_bytes.map_or(8 * 1024 * 1024, |Size(bytes)| bytes),
    };
    if window.messages == 0 || window.bytes == 0 {
        return Err(invalid("--window", "at least one message must be in flight"));
    }
    let defaults = LaneOptions::default();
    let poll_slow = span(options.poll_max, defaults.poll_slow);
    let poll_fast = span(options.poll_min, defaults.poll_fast.min(poll_slow));
    if poll_fast.is_zero() || poll_slow < poll_fast {
        return Err(invalid(
            "--poll-min",
            "must be at least 1ms and at most --poll-max, which is 500ms unless given",
        ));
    }
    let poll_rate = NonZeroU32::new(options.poll_rate.unwrap_or(1000))
        .ok_or_else(|| invalid("--poll-rate", "must be at least 1"))?;
    let doorbell =
        DoorbellOptions { at: options.doorbell.unwrap_or_default(), announce: options.doorbell_announce };
    doorbell.check().map_err(|(option, reason)| invalid(option, &reason))?;
    let lane = LaneOptions {
        poll_fast,
        poll_slow,
        checkpoint_interval: span(options.checkpoint_interval, Duration::from_millis(200)),
        on_undeliverable: match options.on_undeliverable {
            Some(Undelivered::DeadLetter) => OnUndeliverable::DeadLetter,
            Some(Undelivered::Halt) | None => OnUndeliverable::Halt,
        },
        on_damage: match options.on_damage {
            Some(Damaged::Skip) => OnDamage::Skip,
            Some(Damaged::Halt) | None => OnDamage::Halt,
        },
        ..defaults
    };
    let retention = Retention {
        keep: span(options.retention, Duration::from_hours(1)),
        archive: options.archive,
        pointers: publishes_pointers(options),
        keep_pointed: span(options.pointer_retention, Duration::from_hours(24)),
        sweep_after: span(options.sweep_after, Duration::from_hours(24)),
    };
    Ok(EngineOptions {
        lane,
        publish: publish(options)?,
        window,
        retention,
        once: options.once,
        report_every: span(options.report_interval, Duration::from_secs(10)),
        poll_rate,
        discover_every: poll_slow.max(DISCOVER_EVERY),
        inotify: !options.no_inotify,
        doorbell,
    })
}

/// Which topics are published how, as the options say.
fn publish(options: &Options) -> Result<RunOptions, RelayError> {
    if options.stdout && !options.publish.is_empty() {
        return Err(invalid("--publish", "--stdout prints every record: there is nothing to point with"));
    }
    let defaults = RunOptions::default();
    let rules = options.publish.iter().map(|rule| (rule.topics.clone(), rule.mode)).collect();
    let records = options.batch_records.unwrap_or(defaults.records);
    if records == 0 {
        return Err(invalid("--batch-records", "must be at least 1"));
    }
    let bytes = match options.batch_bytes {
        Some(Size(bytes)) => u32::try_from(bytes).ok().filter(|bytes| (1..=MAX_POINTED).contains(bytes)),
        None => Some(defaults.bytes),
    };
    let bytes = bytes
        .ok_or_else(|| invalid("--batch-bytes", &format!("must be at least 1 and at most {MAX_POINTED}")))?;
    let linger = span(options.batch_linger, defaults.linger);
    Ok(RunOptions { rules: Arc::new(Rules::new(rules)), records, bytes, linger })
}

/// Whether any topic may be published as pointers; who says how long to keep what pointers lead to has some elsewhere.
fn publishes_pointers(options: &Options) -> bool {
    options.pointer_retention.is_some() || options.publish.iter().any(|rule| rule.mode != Mode::Inline)
}

fn span(option: Option<Span>, default: Duration) -> Duration {
    option.map_or(default, |Span(duration)| duration)
}

fn invalid(option: &str, reason: &str) -> RelayError {
    RelayError::Option { option: option.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(options: &Options, environment: &Environment) -> String {
        match destination(&System::real(), options, environment) {
            Ok(Destination::Amqp(settings)) => settings.uri.authority.userinfo.password,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_password_comes_from_the_environment_and_shows_nowhere() {
        let options = Options { amqp: Some("amqp://me@host/v".into()), ..Options::default() };
        let environment = Environment { password: Some("s3cret".into()), ..Environment::default() };
        assert_eq!(password(&options, &environment), "s3cret");
        let shown = destination(&System::real(), &options, &environment);
        assert!(!format!("{shown:?}").contains("s3cret"));
        let bad = Options { amqp: Some("htp://me:s3cret@host".into()), ..Options::default() };
        let error = destination(&System::real(), &bad, &Environment::default()).expect_err("no URL");
        assert!(error.to_string().contains("--amqp") && !error.to_string().contains("s3cret"));
    }

    #[test]
    fn what_can_not_be_published_so_is_refused_by_name() {
        let rule = || vec!["#=pointer-batch".parse().expect("a rule")];
        let given = |options: Options| publish(&options).map_err(|error| error.to_string());
        assert_eq!(given(Options::default()), Ok(RunOptions::default()));
        let most = usize::try_from(MAX_POINTED).expect("fits");
        let options = Options { publish: rule(), batch_bytes: Some(Size(most)), ..Options::default() };
        let run = given(options).expect("valid");
        assert_eq!((run.bytes, run.records, run.linger), (MAX_POINTED, 1000, Duration::from_millis(5)));
        assert!(!run.rules.are_all_inline());
        for (options, named) in [
            (Options { batch_bytes: Some(Size(most + 1)), ..Options::default() }, "--batch-bytes"),
            (Options { batch_bytes: Some(Size(0)), ..Options::default() }, "--batch-bytes"),
            (Options { batch_records: Some(0), ..Options::default() }, "--batch-records"),
            (Options { publish: rule(), stdout: true, ..Options::default() }, "--publish"),
        ] {
            let error = given(options).expect_err(named);
            assert!(error.starts_with(named), "{error}");
        }
    }

    #[test]
    fn a_queue_on_a_named_exchange_gets_every_topic_unless_told_otherwise() {
        let queue = || Options { declare_queue: Some("q".into()), ..Options::default() };
        assert_eq!(bindings(&queue(), "").expect("valid"), Vec::<String>::new());
        assert_eq!(bindings(&queue(), "e").expect("valid"), ["#"]);
        assert_eq!(exchange(&queue()), (OWN_EXCHANGE.into(), Some("topic".into())));
        assert_eq!(exchange(&Options { exchange: Some(String::new()), ..queue() }), (String::new(), None));
        assert_eq!(exchange(&Options { exchange: Some("e".into()), ..queue() }), ("e".into(), None));
        let direct = Options { declare_exchange: Some("direct".into()), ..queue() };
        assert!(bindings(&direct, "e").is_err());
        let bound = Options { bind: vec!["a".into()], ..direct };
        assert_eq!(bindings(&bound, "e").expect("valid"), ["a"]);
        assert!(bindings(&bound, "").is_err());
    }
}
