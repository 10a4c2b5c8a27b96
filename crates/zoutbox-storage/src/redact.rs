//! Passwords taken out of what people get to read. Nobody puts one into an error on purpose; but what an operator typed in the wrong place
//! comes back in the words of whoever refused it.

const HIDDEN: &str = "***";

/// `text` without the passwords of URLs (`scheme://user:password@host`) and of `password=…` settings.
///
/// ```
/// let text = zoutbox_storage::redacted("unexpected argument 'amqp://me:s3cret@host/v' found");
/// assert_eq!(text, "unexpected argument 'amqp://me:***@host/v' found");
/// ```
#[must_use]
pub fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        // A password may have anything in it but what ends a word; with `/` or `@` in it the URL may be wrong, and it is a password all the same.
        let end = behind.find(is_end).unwrap_or(behind.len());
        let (url, after) = behind.split_at(end);
        match url.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
            Some((user, host)) => shown.extend([user, ":", HIDDEN, "@", host]),
            None => shown.push_str(url),
        }
        rest = after;
    }
    shown.push_str(rest);
    without_settings(&shown)
}

/// Whether a URL has an `@` behind what a parser takes for its host, or has no place for a host at all. Then a password has a `/`, `?` or `#` in it
/// that is not escaped, and its end would be taken for a path that people get to see.
#[must_use]
pub fn misplaces_password(url: &str) -> bool {
    let authority = url.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//")).unwrap_or_default();
    let host = authority.find(['/', '?', '#']).and_then(|end| authority.get(..end)).unwrap_or(authority);
    url.matches('@').count() > host.matches('@').count()
}

fn is_end(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\'' | '"' | '`' | '<' | '>')
}

fn without_settings(text: &str) -> String {
    const SETTING: &str = "password=";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find(SETTING) {
        let (before, value) = rest.split_at(at + SETTING.len());
        shown.push_str(before);
        shown.push_str(HIDDEN);
        // In quotes it may have spaces in it.
        let quote = value.chars().next().filter(|first| matches!(first, '\'' | '"'));
        let inside = value.get(quote.map_or(0, char::len_utf8)..).unwrap_or_default();
        let end = match quote {
            Some(quote) => inside.find(quote).map(|at| at + quote.len_utf8()),
            None => inside.find(|character| is_end(character) || character == '&'),
        };
        rest = end.and_then(|end| inside.get(end..)).unwrap_or_default();
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_would_end_up_in_the_path_is_noticed() {
        for url in [
            "amqp://me:a/b@host",
            "amqp://me:a?b@host/v",
            "amqps://me:a#b@host",
            "me:a/b@host",
            "amqps:/x://me:a@host",
        ] {
            assert!(misplaces_password(url), "{url}");
        }
        for url in
            ["amqp://me:a%2Fb@host/v", "amqp://host/v", "amqp://me@host", "amqp://me:p@w@host/v%40", ""]
        {
            assert!(!misplaces_password(url), "{url}");
        }
    }

    #[test]
    fn passwords_are_hidden_and_nothing_else_is() {
        for (text, shown) in [
            ("amqp://me:pw@host:1/v", "amqp://me:***@host:1/v"),
            ("amqp://me:p@w:/x@host", "amqp://me:***@host"),
            ("a amqp://u:1@h and postgres://v:2@i, b", "a amqp://u:***@h and postgres://v:***@i, b"),
            ("amqp://me@host:5672/v", "amqp://me@host:5672/v"),
            ("amqp://host:5672/v", "amqp://host:5672/v"),
            ("host=h password=x user=u", "host=h password=*** user=u"),
            ("host=h PASSWORD='x y' user=u", "host=h PASSWORD=*** user=u"),
            ("?user=a&password=b&c=d", "?user=a&password=***&c=d"),
            ("password=x", "password=***"),
            ("--password-file /run/x", "--password-file /run/x"),
            ("", ""),
            ("://", "://"),
            ("é://ü:ß@é", "é://ü:***@é"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
