//! Which topics are published how. Patterns are those of AMQP's topic exchanges: words with `.` between them, where `*` stands for
//! exactly one word and `#` for any number of them, also none. The empty topic has no word at all.
//!
//! ```text
//!   orders.*     orders.created   not orders, not orders.eu.created
//!   orders.#     orders   orders.created   orders.eu.created
//!   #            everything
//! ```

use zoutbox_format::limits::MAX_TOPIC;

/// How the records of a topic are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The record is the message.
    #[default]
    Inline,
    /// A message a record, which says where it lies.
    Pointer,
    /// A message for many consecutive records, which says where they lie.
    PointerBatch,
}

/// A pattern of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Word>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// `#`
    Any,
    /// `*`
    One,
    This(Box<str>),
}

impl Word {
    fn fits(&self, word: &str) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::This(text) => **text == *word,
        }
    }
}

impl Pattern {
    /// Reads a pattern; `None` if it is longer than a topic can be, or has a `*` or `#` that is only a part of a word, which to a
    /// broker is a letter like any other and to most people is not.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let word = |word: &str| match word {
            "#" => Some(Word::Any),
            "*" => Some(Word::One),
            _ => (!word.contains(['*', '#'])).then(|| Word::This(word.into())),
        };
        if text.len() > MAX_TOPIC {
            return None;
        }
        words(text).map(word).collect::<Option<_>>().map(Self)
    }

    /// Whether `topic` is one of them. Takes at most as many steps as the product of both numbers of words, whatever they are: of all
    /// the `#` only the last one that was met is ever tried again.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let Self(pattern) = self;
        let (mut next, mut rest) = (0, words(topic));
        let mut last_any = None;
        loop {
            let word = rest.clone().next();
            match (pattern.get(next), word) {
                (None, None) => return true,
                (Some(Word::Any), _) => {
                    next += 1;
                    last_any = Some((next, rest.clone()));
                }
                (Some(fitting), Some(word)) if fitting.fits(word) => {
                    next += 1;
                    rest.next();
                }
                // The last `#` takes one word more.
                _ => {
                    let Some((behind, from)) = &mut last_any else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    next = *behind;
                    rest = from.clone();
                }
            }
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    (!text.is_empty()).then(|| text.split('.')).into_iter().flatten()
}

/// Which topics are published how: the first pattern that matches decides; inline where none does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(Vec<(Pattern, Mode)>);

impl Rules {
    /// In this order.
    #[must_use]
    pub fn new(rules: Vec<(Pattern, Mode)>) -> Self {
        Self(rules)
    }

    /// How a topic is published.
    #[must_use]
    pub fn mode(&self, topic: &str) -> Mode {
        let Self(rules) = self;
        rules.iter().find(|(pattern, _)| pattern.matches(topic)).map_or(Mode::Inline, |(_, mode)| *mode)
    }

    /// Whether every topic is published inline.
    #[must_use]
    pub fn are_all_inline(&self) -> bool {
        self.0.iter().all(|(_, mode)| *mode == Mode::Inline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).expect("a pattern")
    }

    /// What AMQP 0-9-1 says of topic exchanges, without a thought for how long it takes.
    fn matches_by_definition(pattern: &[&str], topic: &[&str]) -> bool {
        match pattern.split_first() {
            None => topic.is_empty(),
            Some((&"#", rest)) => (0..=topic.len()).any(|taken| matches_by_definition(rest, &topic[taken..])),
            Some((word, rest)) => topic.split_first().is_some_and(|(first, others)| {
                (*word == "*" || word == first) && matches_by_definition(rest, others)
            }),
        }
    }

    fn split(text: &str) -> Vec<&str> {
        if text.is_empty() { Vec::new() } else { text.split('.').collect() }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_amqp_says(
            pattern_words in vec(prop_oneof![Just("#"), Just("*"), Just("a"), Just("b"), Just("")], 0..7),
            topic_words in vec(prop_oneof![Just("a"), Just("b"), Just("")], 0..8),
        ) {
            let (text, topic) = (pattern_words.join("."), topic_words.join("."));
            let expected = matches_by_definition(&split(&text), &split(&topic));
            prop_assert_eq!(pattern(&text).matches(&topic), expected, "{} {}", text, topic);
        }

        #[test]
        fn any_text_is_a_pattern_or_none_and_matches_in_the_end(text in "[a-c*#.é]{0,30}", topic in ".{0,40}") {
            let whole = |word: &str| matches!(word, "*" | "#") || !word.contains(['*', '#']);
            let found = Pattern::new(&text);
            prop_assert_eq!(found.is_some(), split(&text).into_iter().all(whole));
            if let Some(pattern) = found {
                prop_assert!(!pattern.matches(&topic) || pattern.matches(&topic));
            }
        }
    }

    #[test]
    fn the_examples_hold() {
        assert!(pattern("orders.*").matches("orders.created"));
        for other in ["orders", "orders.eu.created", "order.created", ""] {
            assert!(!pattern("orders.*").matches(other), "{other}");
        }
        for topic in ["orders", "orders.created", "orders.eu.created"] {
            assert!(pattern("orders.#").matches(topic), "{topic}");
        }
        assert!(pattern("#").matches("") && !pattern("*").matches("") && pattern("").matches(""));
        assert!(pattern("*").matches("é") && pattern("a.").matches("a.") && !pattern("a.").matches("a"));
    }

    #[test]
    fn a_pattern_longer_than_any_topic_is_none() {
        assert!(Pattern::new(&"a".repeat(MAX_TOPIC)).is_some());
        assert!(Pattern::new(&"a".repeat(MAX_TOPIC + 1)).is_none());
    }

    #[test]
    fn a_hostile_pattern_costs_its_words_times_those_of_the_topic() {
        // Tried by definition, each `#` multiplies the ways: 2^64 of them and more.
        let text = "#.a.".repeat(63) + "b";
        let topic = "a.".repeat(127) + "a";
        assert!(!pattern(&text).matches(&topic));
        assert!(pattern(&text).matches(&(topic[..254].to_owned() + "b")));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = Rules::new(vec![
            (pattern("a.x"), Mode::Inline),
            (pattern("a.#"), Mode::PointerBatch),
            (pattern("#"), Mode::Pointer),
        ]);
        let modes = ["a.x", "a.y", "b"].map(|topic| rules.mode(topic));
        assert_eq!(modes, [Mode::Inline, Mode::PointerBatch, Mode::Pointer]);
        assert_eq!(Rules::default().mode("a"), Mode::Inline);
        assert!(!rules.are_all_inline() && Rules::default().are_all_inline());
    }
}
