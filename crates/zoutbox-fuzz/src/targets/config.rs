//! The relay's configuration, as a file and value by value. What is wrong is told in one line, and never with a password in it.

use zoutbox_relay::settings::{Environment, destination, engine};
use zoutbox_relay::{Doorbell, Options, PublishRule, Size, Span};
use zoutbox_relay_core::Pattern;
use zoutbox_storage::System;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(options) = Options::from_toml(text) {
        settings(options);
    }
    settings(Options { amqp: Some(text.into()), ..Options::default() });
    value(text);
}

fn value(text: &str) {
    if let Ok(Size(bytes)) = text.parse::<Size>() {
        assert!(bytes.to_string().parse() == Ok(Size(bytes)), "{text:?} does not read back");
    }
    if let Ok(Span(span)) = text.parse::<Span>() {
        assert!(format!("{}ms", span.as_millis()).parse() == Ok(Span(span)), "{text:?} does not read back");
    }
    drop(text.parse::<Doorbell>());
    drop(text.parse::<PublishRule>());
    // The first line is a pattern, the second one a topic.
    let (pattern, topic) = text.split_once('\n').unwrap_or((text, text));
    if let Some(pattern) = Pattern::new(pattern) {
        let _matches: bool = pattern.matches(topic);
    }
    assert!(Pattern::new("#").is_some_and(|all| all.matches(topic)), "{topic:?} is no topic at all");
}

/// Takes the options apart as the relay does. Files that they name are left alone: that is not what is tried here.
fn settings(options: Options) {
    let options = Options { password_file: None, ca_file: None, ..options };
    drop(engine(&options));
    let url = options.amqp.clone().unwrap_or_default();
    match destination(&System::real(), &options, &Environment::default()) {
        Ok(destination) => no_secret(&url, &format!("{destination:?}")),
        Err(error) => no_secret(&url, &error.to_string()),
    }
}

/// What stands between the user's `:` and the last `@` is a password, whatever else may be wrong with the URL.
fn no_secret(url: &str, shown: &str) {
    const LONG_ENOUGH_TO_TELL: usize = 8;
    let secret = url
        .rsplit_once('@')
        .and_then(|(before, _)| before.split_once("://"))
        .and_then(|(_, user)| user.split_once(':'))
        .map_or("", |(_, password)| password);
    let plain = secret.len() >= LONG_ENOUGH_TO_TELL && secret.bytes().all(|c| c.is_ascii_alphanumeric());
    // What also stands elsewhere in the URL is no secret.
    let plain = plain && url.matches(secret).count() == 1;
    let told = plain && secret.bytes().any(|c| c.is_ascii_digit()) && shown.contains(secret);
    assert!(!told, "the password of {url:?} shows: {shown}");
}
