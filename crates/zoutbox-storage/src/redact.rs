//! Passwords taken out of what people get to read. Nobody puts one into an error on purpose; but what an operator typed in the wrong place
//! comes back in the words of whoever refused it.

use std::ops::Range;

const HIDDEN: &str = "***";

/// `text` without the passwords of URLs (`scheme://user:password@host`) and of `password = …` settings.
///
/// A password may have anything in it but a blank, whether a URL could have it there or not: where its end is in doubt, more is hidden.
///
/// ```
/// let text = zoutbox_storage::redacted("unexpected argument 'amqp://me:s3cret@host/v' found");
/// assert_eq!(text, "unexpected argument 'amqp://me:***@host/v' found");
/// ```
#[must_use]
pub fn redacted(text: &str) -> String {
    // Both are looked for in the text as it came: a password may look like a setting, and a setting may have an `@` in it.
    let mut secrets: Vec<_> = passwords_of_urls(text).chain(passwords_of_settings(text)).collect();
    secrets.sort_unstable_by_key(|secret| secret.start);
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for secret in secrets {
        // There is always something in front of a password; if not, it goes on where another one ended.
        if let Some(before) = text.get(from..secret.start).filter(|before| !before.is_empty()) {
            shown.extend([before, HIDDEN]);
        }
        from = from.max(secret.end);
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    shown
}

/// Whether a URL has an `@` behind what a parser takes for its host, or has no place for a host at all. Then a password has a `/`, `?` or `#` in it
/// that is not escaped, and its end would be taken for a path that people get to see.
#[must_use]
pub fn misplaces_password(url: &str) -> bool {
    let authority = url.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//")).unwrap_or_default();
    let host = authority.find(['/', '?', '#']).and_then(|end| authority.get(..end)).unwrap_or(authority);
    url.matches('@').count() > host.matches('@').count()
}

/// Of each word with a URL in it, what lies between the user and the last `@`.
fn passwords_of_urls(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    text.split_inclusive(char::is_whitespace).filter_map(move |word| {
        end += word.len();
        let (_, url) = word.split_once("://")?;
        let (credentials, _) = url.rsplit_once('@')?;
        let (user, password) = credentials.split_once(':')?;
        let start = end - url.len() + user.len() + 1;
        Some(start..start + password.len())
    })
}

fn passwords_of_settings(text: &str) -> impl Iterator<Item = Range<usize>> {
    const NAME: &str = "password";
    let lower = text.to_ascii_lowercase();
    let found: Vec<_> = lower.match_indices(NAME).map(|(at, _)| at).collect();
    found.into_iter().filter_map(move |at| {
        let (before, named) = text.split_at_checked(at)?;
        let value = named.get(NAME.len()..)?.trim_start().strip_prefix('=')?.trim_start();
        let start = text.len() - value.len();
        Some(start..start + length_of_value(value, before.ends_with(['?', '&'])))
    })
}

/// How long the value is that this begins with: to the next blank, and in a query to the next `&`. In quotes it may have those in it.
fn length_of_value(value: &str, in_query: bool) -> usize {
    let quoted = length_of_quoted(value);
    let behind = value.get(quoted..).unwrap_or_default();
    let end = behind.find(|next: char| next.is_whitespace() || (in_query && next == '&'));
    let behind = end.and_then(|end| behind.get(..end)).unwrap_or(behind);
    // They are rather around the whole setting; if there is nothing else, they are the value.
    let inner = behind.trim_end_matches(['\'', '"', '`', '<', '>']);
    quoted + if quoted + inner.len() == 0 { behind.len() } else { inner.len() }
}

/// With both quotes; 0 if it does not begin with one.
fn length_of_quoted(value: &str) -> usize {
    let mut characters = value.char_indices();
    let Some((_, quote @ ('\'' | '"'))) = characters.next() else { return 0 };
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return at + quote.len_utf8();
        }
        if character == '\\' {
            // Another quote may be part of it.
            characters.next();
        }
    }
    value.len()
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
            ("argument 'amqp://me:it's@host/v' found", "argument 'amqp://me:***@host/v' found"),
            ("<amqp://me:a<b>\"`@host:1/v> [amqp://u:]@i]", "<amqp://me:***@host:1/v> [amqp://u:***@i]"),
            ("amqp://me:a://b:c@d@host", "amqp://me:***@host"),
            ("host = h password = x user = u", "host = h password = *** user = u"),
            ("'host=h password=a<b&c' \"password= it's\"", "'host=h password=***' \"password= ***\""),
            (r"password='it\'s mine' user=u", "password=*** user=u"),
            (r#"password="a"b user=u"#, "password=*** user=u"),
            ("postgres://h:5432/db?password=x@y&c=d", "postgres://h:***&c=d"),
            ("amqp://me:x?password=@host", "amqp://me:***"),
            ("the password is wrong = bad", "the password is wrong = bad"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }

    #[test]
    fn a_password_is_hidden_whatever_it_is_made_of() {
        let odd = || (' '..='~').chain(['é', '\u{7f}', '\u{1f511}']).filter(|next| !next.is_whitespace());
        let passwords = odd().flat_map(|one| {
            odd().flat_map(move |two| {
                [format!("{one}{two}"), format!("{one}Xyz{two}Zyx"), format!("Xyz{one}Zyx{two}")]
            })
        });
        for password in passwords {
            for (before, after) in [
                ("argument 'amqp://me:", "@host:5672/v' found"),
                ("at amqp://me:", "@host:5672/v"),
                ("host=h password=", " user=u"),
                ("host=h password = ", ""),
            ] {
                let shown = redacted(&format!("{before}{password}{after}"));
                let about = format!("{password} in {shown}");
                assert!(!shown.contains("Xyz") && !shown.contains("Zyx"), "{about}");
                let behind = shown.strip_prefix(before).and_then(|shown| shown.strip_prefix("***"));
                let behind = behind.unwrap_or_else(|| panic!("{about}"));
                // With quotes around a setting one can't know.
                let quotes = behind.strip_suffix(after).unwrap_or_default();
                assert!(
                    quotes.len() < password.len() && quotes.chars().all(|next| "'\"`<>".contains(next)),
                    "{about}"
                );
                let may_run_on = before.contains("password") && password.starts_with(['\'', '"']);
                assert!(behind.ends_with(after) || may_run_on, "{about}");
            }
        }
    }
}
