//! The tables of the bill of health, made of the lines that a run left. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Hits;

const BEGIN: &str = "<!-- begin: written by scripts/reliability.sh, not by hand -->\n";
const END: &str = "<!-- end -->";

/// What some runs of the suites came to.
#[derive(Debug, Default)]
pub struct Results {
    /// How they were made, in their order.
    runs: Vec<Run>,
    /// By who is hit (`None` is somebody unheard of), fault, suite, and way.
    rows: BTreeMap<(Option<Hits>, String, String, String), Row>,
}

#[derive(Debug)]
struct Run {
    date: String,
    commit: String,
    command: String,
}

#[derive(Debug, Default)]
struct Row {
    times: u64,
    /// Of those that differ in more than figures, each.
    outcomes: Vec<Outcome>,
}

impl Results {
    /// Reads lines as [`super::Fault::held`] writes them, and those that say how a run was made: `{"run":{"date":…,"commit":…,"command":…}}`.
    ///
    /// # Errors
    /// The line that is neither, by its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut results = Self::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            results.line(line).map_err(|error| format!("line {}: {error}: {line}", number + 1))?;
        }
        Ok(results)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text = |of: &Value, name: &str| -> Result<String, String> {
            let text = of.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
            text.map(str::to_owned).ok_or_else(|| format!("no text '{name}'"))
        };
        if let Some(run) = line.get("run") {
            let (date, commit, command) = (text(run, "date")?, text(run, "commit")?, text(run, "command")?);
            self.runs.push(Run { date, commit, command });
            return Ok(());
        }
        let times = line.get("times").and_then(Value::as_u64).ok_or("no number 'times'")?;
        let hits = line.get("hits").and_then(Value::as_str);
        let hits = Hits::ALL.iter().find(|(_, name, _)| Some(*name) == hits).map(|(hits, ..)| *hits);
        let key = (hits, text(&line, "fault")?, text(&line, "suite")?, text(&line, "how")?);
        let row = self.rows.entry(key).or_default();
        row.times = row.times.saturating_add(times);
        let outcome = Outcome::parse(&text(&line, "outcome")?);
        if !row.outcomes.iter_mut().any(|known| known.takes(&outcome)) {
            row.outcomes.push(outcome);
        }
        Ok(())
    }

    /// Suites and the faults that they inject.
    pub fn faults(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.keys().map(|(_, fault, suite, _)| (suite.as_str(), fault.as_str()))
    }

    /// Whether it is known how the results were made.
    #[must_use]
    pub fn tells_its_run(&self) -> bool {
        !self.runs.is_empty()
    }

    /// The generated part of the page.
    #[must_use]
    pub fn tables(&self) -> String {
        let mut page = String::new();
        let mut line = |line: &str| {
            page.push_str(line);
            page.push('\n');
        };
        for Run { date, commit, command } in &self.runs {
            line(&format!("- {date}, commit `{commit}`: `{command}`"));
        }
        line("\n| suite | kinds of faults | injected |\n|---|---:|---:|");
        let mut suites: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for ((_, _, suite, _), row) in &self.rows {
            let (kinds, times) = suites.entry(suite).or_default();
            (*kinds, *times) = (*kinds + 1, times.saturating_add(row.times));
        }
        for (suite, (kinds, times)) in suites {
            line(&format!("| {} | {kinds} | {} |", cell(suite), grouped(times)));
        }
        let known = Hits::ALL.iter().map(|(hits, _, heading)| (Some(*hits), *heading));
        for (group, heading) in known.chain([(None, "Others")]) {
            let mut rows = self.rows.iter().filter(|((hits, ..), _)| *hits == group).peekable();
            if rows.peek().is_some() {
                line(&format!("\n### {heading}\n\n| fault | how | suite | times | checked, and held |"));
                line("|---|---|---|---:|---|");
            }
            for ((_, fault, suite, how), row) in rows {
                let outcomes: Vec<String> = row.outcomes.iter().map(Outcome::to_text).collect();
                let [fault, how, suite, outcome] = [fault, how, suite, &outcomes.join("; ")].map(|t| cell(t));
                line(&format!("| {fault} | {how} | {suite} | {} | {outcome} |", grouped(row.times)));
            }
        }
        page
    }
}

/// The page with its generated part made anew of these results. All else stays as it is.
///
/// # Errors
/// When the page has no place for it, or the results don't say how they were made.
pub fn write_page(page: &str, results: &Results) -> Result<String, String> {
    if !results.tells_its_run() {
        return Err("no line says when, of what and how the results were made".into());
    }
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| format!("the page lacks {}", BEGIN.trim()))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("the page lacks {END}"))?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", results.tables()))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// With a comma for each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As [`grouped`], if it is a whole number; else as it was written.
fn readable(figure: &str) -> String {
    figure.parse().map_or_else(|_| figure.to_owned(), grouped)
}

/// A text, and the figures in it: words[0] figures[0] words[1] … words[n].
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    words: Vec<String>,
    figures: Vec<Range>,
}

/// A figure, as it was written; the same twice when there is but one.
#[derive(Debug, PartialEq)]
struct Range {
    low: String,
    high: String,
}

fn value(figure: &str) -> f64 {
    figure.replace(',', "").parse().unwrap_or(0.0)
}

impl Range {
    fn widen(&mut self, other: &Self) {
        if value(&other.low) < value(&self.low) {
            self.low.clone_from(&other.low);
        }
        if value(&other.high) > value(&self.high) {
            self.high.clone_from(&other.high);
        }
    }
}

impl Outcome {
    fn parse(text: &str) -> Self {
        let mut outcome = Self { words: vec![String::new()], figures: Vec::new() };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let figure = figure(rest);
            if figure.is_empty() {
                if let Some(words) = outcome.words.last_mut() {
                    words.push(first);
                }
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            } else {
                outcome.add(figure);
                rest = rest.get(figure.len()..).unwrap_or_default();
            }
        }
        outcome
    }

    /// Another figure; behind a figure and "to" it is the other end of a range.
    fn add(&mut self, figure: &str) {
        let ends = self.words.last().is_some_and(|words| words == " to ");
        match self.figures.last_mut().filter(|range| ends && range.low == range.high) {
            Some(range) => {
                figure.clone_into(&mut range.high);
                self.words.pop();
            }
            None => self.figures.push(Range { low: figure.to_owned(), high: figure.to_owned() }),
        }
        self.words.push(String::new());
    }

    /// Whether the other one differs in figures only; then it is part of this one.
    fn takes(&mut self, other: &Self) -> bool {
        let same = self.words == other.words && self.figures.len() == other.figures.len();
        if same {
            self.figures.iter_mut().zip(&other.figures).for_each(|(range, other)| range.widen(other));
        }
        same
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        let mut figures = self.figures.iter();
        for words in &self.words {
            text.push_str(words);
            if let Some(Range { low, high }) = figures.next() {
                text.push_str(&readable(low));
                if low != high {
                    text.push_str(" to ");
                    text.push_str(&readable(high));
                }
            }
        }
        text
    }
}

/// The figure that a text begins with: digits, with commas or a point between them. A digit behind a letter begins none, but that is left to
/// whoever writes outcomes.
fn figure(text: &str) -> &str {
    let mut end = 0;
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(end) {
        let next = bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_digit() || (end > 0 && next && matches!(byte, b',' | b'.'))) {
            break;
        }
        end += 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(suite: &str, fault: &str, times: u64, outcome: &str) -> String {
        format!(
            r#"{{"suite":"{suite}","hits":"relay","fault":"{fault}","how":"h","times":{times},"outcome":"{outcome}"}}"#
        ) + "\n"
    }

    const RUN: &str = "{\"run\":{\"date\":\"d\",\"commit\":\"c\",\"command\":\"x\"}}\n";

    #[test]
    fn times_of_the_same_fault_are_added_and_figures_become_ranges() {
        let text = RUN.to_owned()
            + &line("s", "killed", 1000, "1200 records; taken over in 0.5 to 1.25 s")
            + &line("s", "killed", 234, "900 records; taken over in 0.75 to 3 s")
            + &line("s", "stopped", 1, "nothing lost")
            + &line("s", "stopped", 1, "nothing lost");
        let tables = Results::parse(&text).unwrap().tables();
        for row in [
            "- d, commit `c`: `x`",
            "| s | 2 | 1,236 |",
            "| killed | h | s | 1,234 | 900 to 1,200 records; taken over in 0.5 to 3 s |",
            "| stopped | h | s | 2 | nothing lost |",
        ] {
            assert!(tables.contains(row), "{row}\n{tables}");
        }
    }

    #[test]
    fn outcomes_that_differ_in_words_are_all_told() {
        let text = line("s", "killed", 1, "in SQLite") + &line("s", "killed", 1, "in PostgreSQL");
        let tables = Results::parse(&text).unwrap().tables();
        assert!(tables.contains("| 2 | in SQLite; in PostgreSQL |"), "{tables}");
    }

    #[test]
    fn what_is_no_line_of_results_is_refused_by_its_number() {
        for wrong in [
            "no json",
            "{}",
            r#"{"suite":"s","fault":"f","how":"h","times":-1,"outcome":"o"}"#,
            r#"{"suite":"s","fault":"f","how":"h","times":1,"outcome":" "}"#,
            r#"{"run":{"date":"d","commit":"c"}}"#,
        ] {
            let error = Results::parse(&format!("{RUN}{wrong}\n")).unwrap_err();
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }

    #[test]
    fn who_is_unheard_of_has_a_table_all_the_same() {
        let text = r#"{"suite":"s","fault":"f","how":"h","times":1,"outcome":"o"}"#;
        assert!(Results::parse(text).unwrap().tables().contains("### Others"));
    }

    #[test]
    fn only_the_generated_part_of_the_page_changes() {
        let results = Results::parse(&(RUN.to_owned() + &line("s", "killed", 1, "held"))).unwrap();
        let page = write_page(&format!("# Head\n\n{BEGIN}old\n{END}\n\nfoot\n"), &results).unwrap();
        assert!(page.starts_with("# Head\n\n") && page.ends_with("\n<!-- end -->\n\nfoot\n"), "{page}");
        assert!(page.contains("| killed |") && !page.contains("old"), "{page}");
        assert_eq!(write_page(&page, &results).unwrap(), page, "once more changes nothing");
        assert!(write_page("no place", &results).is_err());
        assert!(write_page(&page, &Results::default()).is_err(), "nobody knows how that was made");
    }
}
