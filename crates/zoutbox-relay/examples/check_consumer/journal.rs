//! What was acknowledged, as files that grow.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use zoutbox_format::RecordId;

/// A journal, read as it grows.
pub(crate) struct Journal {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
}

impl Journal {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, partial: Vec::new() }
    }

    /// Gives out what is new: records and their payloads.
    pub(crate) fn read(&mut self, mut each: impl FnMut(RecordId, &[u8])) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let Ok(mut file) = File::open(&self.path) else { return Ok(()) };
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        let read = file.read_to_end(&mut self.partial).map_err(failed)?;
        self.offset += u64::try_from(read).unwrap_or_default();
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.partial.split_off(end + 1);
        for line in self.partial.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let tab = line.iter().position(|byte| *byte == b'\t');
            let parts = tab.and_then(|tab| Some((line.get(..tab)?, line.get(tab + 1..)?)));
            let (id, payload) =
                parts.ok_or_else(|| format!("{}: a line without tab", self.path.display()))?;
            // `paste` writes an empty first column for a line that was never acknowledged.
            if let Ok(id) = String::from_utf8_lossy(id).parse() {
                each(id, payload);
            }
        }
        self.partial = rest;
        Ok(())
    }
}
