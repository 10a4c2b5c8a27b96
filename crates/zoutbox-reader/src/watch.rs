//! inotify, through `notify`: a hint that there may be something to read, and nothing more. It tells of changes made through the same
//! host's mount only; over NFS it is silent (inotify(7)), and nothing may depend on it.

use std::path::{Component, Path};

use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use zoutbox_format::WriterId;
use zoutbox_storage::Share;

use crate::error::ReaderError;

/// What may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// One writer's segments.
    Writer(WriterId),
    /// Something else, or too much to tell: look everywhere.
    Anything,
}

/// Watches a share for as long as it lives.
#[derive(Debug)]
pub struct Watcher {
    _watcher: RecommendedWatcher,
}

impl Watcher {
    /// Calls `changed`, on a thread of the watcher's own, whenever something may have changed. It must not block.
    ///
    /// # Errors
    /// [`ReaderError::Watch`] when the kernel refuses, for example because `fs.inotify.max_user_watches` is used up. Polling must go
    /// on anyway.
    pub fn new(share: &Share, changed: impl Fn(Hint) + Send + 'static) -> Result<Self, ReaderError> {
        let directory = share.layout.writers();
        // Events carry the path as it was given or resolved; either form must be recognised.
        let resolved = directory.canonicalize().unwrap_or_else(|_| directory.clone());
        let roots = [directory.clone(), resolved];
        let failed = |source| ReaderError::Watch { path: directory.display().to_string(), source };
        let handler = move |event: notify::Result<Event>| match event {
            Ok(event) if !tells_nothing(event.kind) => {
                let hints = event.paths.iter().map(|path| hint(&roots, path));
                hints.for_each(&changed);
            }
            Ok(_) => {}
            Err(_) => changed(Hint::Anything),
        };
        let mut watcher = RecommendedWatcher::new(handler, Config::default()).map_err(failed)?;
        watcher.watch(&directory, RecursiveMode::Recursive).map_err(failed)?;
        Ok(Self { _watcher: watcher })
    }
}

/// Reading a segment raises events too; a relay that woke on those would wake itself.
const fn tells_nothing(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(_))
}

fn hint(roots: &[impl AsRef<Path>], path: &Path) -> Hint {
    let below = roots.iter().find_map(|root| path.strip_prefix(root).ok());
    let writer = below.and_then(|below| match below.components().next()? {
        Component::Normal(name) => WriterId::new(name.to_str()?).ok(),
        _ => None,
    });
    writer.map_or(Hint::Anything, Hint::Writer)
}
