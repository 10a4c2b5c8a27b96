//! The findings as people and machines read them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use zoutbox_storage::mount::{Finding, Mount, Promise};

use crate::exit::{Exit, Failure};
use crate::output::Output;

/// What was found out so far.
#[derive(Debug)]
pub(super) struct Report {
    root: String,
    host: String,
    pub(super) mount: Option<Mount>,
    pub(super) partner: Option<Partner>,
    pub(super) findings: Vec<Finding>,
    /// Findings that come from the other host.
    pub(super) rows: Vec<Row>,
    pub(super) unseen: Vec<String>,
}

/// Who measured on the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partner {
    pub(super) host: String,
    pub(super) pid: u32,
}

/// A finding as `--json` has it, and as it goes from host to host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    level: Level,
    promise: Option<u8>,
    breaks: Option<String>,
    what: String,
    value: String,
    why: String,
    advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Fine,
    Costs,
    Breaks,
}

impl From<&Finding> for Row {
    fn from(finding: &Finding) -> Self {
        use zoutbox_storage::mount::Level as Found;
        let (level, promise) = match finding.level {
            Found::Fine => (Level::Fine, None),
            Found::Costs => (Level::Costs, None),
            Found::Breaks(promise) => (Level::Breaks, Some(promise)),
        };
        Self {
            level,
            promise: promise.map(Promise::number),
            breaks: promise.map(|promise| promise.words().to_owned()),
            what: finding.what.clone(),
            value: finding.value.clone(),
            why: finding.why.clone(),
            advice: finding.advice.clone(),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    root: &'a str,
    host: &'a str,
    mount: Option<MountJson>,
    partner: Option<&'a Partner>,
    sound: bool,
    findings: &'a [Row],
    unseen: &'a [String],
}

#[derive(Serialize)]
struct MountJson {
    kind: String,
    source: String,
    point: String,
    options: String,
}

impl From<&Mount> for MountJson {
    fn from(mount: &Mount) -> Self {
        let option = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        Self {
            kind: mount.kind.clone(),
            source: mount.source.to_string_lossy().into_owned(),
            point: mount.point.display().to_string(),
            options: mount.options.iter().map(option).collect::<Vec<_>>().join(","),
        }
    }
}

impl Report {
    pub(super) fn new(root: &Path, host: &str) -> Self {
        Self {
            root: root.display().to_string(),
            host: host.to_owned(),
            mount: None,
            partner: None,
            findings: Vec::new(),
            rows: Vec::new(),
            unseen: Vec::new(),
        }
    }

    pub(super) fn print(self, json: bool) -> Result<Exit, Failure> {
        let rows: Vec<Row> = self.findings.iter().map(Row::from).chain(self.rows.iter().cloned()).collect();
        let sound = rows.iter().all(|row| row.level != Level::Breaks);
        let mut output = Output::new();
        if json {
            output.line(&self.json(&rows, sound)?)?;
        } else {
            output.bytes(self.text(&rows).as_bytes())?;
        }
        output.flush()?;
        Ok(if sound { Exit::Ok } else { Exit::Damaged })
    }

    fn json(&self, rows: &[Row], sound: bool) -> Result<String, Failure> {
        let document = Document {
            root: &self.root,
            host: &self.host,
            mount: self.mount.as_ref().map(MountJson::from),
            partner: self.partner.as_ref(),
            sound,
            findings: rows,
            unseen: &self.unseen,
        };
        serde_json::to_string(&document)
            .map_err(|error| Failure::new(Exit::Io, format!("can't write JSON: {error}")))
    }

    fn text(&self, rows: &[Row]) -> String {
        let with = self.partner.as_ref().map_or(String::new(), |partner| {
            format!(", together with host {}, process {}", partner.host, partner.pid)
        });
        let mut lines = vec![format!("{} on host {}{with}", self.root, self.host)];
        lines.extend(table(rows));
        lines.extend(self.unseen.iter().map(|unseen| format!("can't be seen from here: {unseen}")));
        lines.push(summary(rows));
        lines.push(String::new());
        lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
    }
}

fn table(rows: &[Row]) -> Vec<String> {
    let width = |cell: fn(&Row) -> &str| rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0);
    let (what, value) = (width(|row| &row.what), width(|row| &row.value));
    let mut lines = vec![format!("{:<6}  {:<what$}  {:<value$}  WHY", "LEVEL", "WHAT", "VALUE")];
    for row in rows {
        let level = match row.level {
            Level::Fine => "fine",
            Level::Costs => "costs",
            Level::Breaks => "BREAKS",
        };
        let broken = row.promise.zip(row.breaks.as_ref());
        let broken = broken.map_or(String::new(), |(number, words)| format!("promise {number} ({words}): "));
        lines.push(format!("{level:<6}  {:<what$}  {:<value$}  {broken}{}", row.what, row.value, row.why));
        if !row.advice.is_empty() {
            lines.push(format!("{:<6}  {:<what$}  → {}", "", "", row.advice));
        }
    }
    lines
}

fn summary(rows: &[Row]) -> String {
    let count = |level| rows.iter().filter(|row| row.level == level).count();
    match (count(Level::Breaks), count(Level::Costs)) {
        (0, 0) => "no promise is broken".to_owned(),
        (0, costs) => format!("no promise is broken; {costs} of {} findings cost something", rows.len()),
        (1, _) => "1 finding breaks a promise: not to be trusted like this".to_owned(),
        (more, _) => format!("{more} findings break a promise: not to be trusted like this"),
    }
}
