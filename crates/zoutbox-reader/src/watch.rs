//! inotify, through `notify`: a hint that there may be something to read, and nothing more. It tells of changes made through the same
//! host's mount only; over NFS it is silent (inotify(7)), and nothing may depend on it.

use std::path::{Component, Path};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use notify::event::CreateKind;
use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use zoutbox_format::WriterId;
use zoutbox_storage::{Share, System};

use crate::discover::writers;
use crate::error::ReaderError;

/// What may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// One writer's segments.
    Writer(WriterId),
    /// Something else, or too much to tell: look everywhere.
    Anything,
}

/// Watches a share for as long as it lives: `writers/`, and each writer's directory in it. Nothing below those: a writer may make as many
/// directories there as it likes, and links to anywhere, and none of them is worth a watch.
#[derive(Debug)]
pub struct Watcher {
    _watcher: Arc<Mutex<RecommendedWatcher>>,
}

impl Watcher {
    /// Calls `changed`, on threads of the watcher's own, whenever something may have changed. It must not block.
    ///
    /// # Errors
    /// [`ReaderError::Watch`] when the kernel refuses, for example because `fs.inotify.max_user_watches` is used up. Polling must go
    /// on anyway.
    pub fn new(
        system: &System,
        share: &Share,
        changed: impl Fn(Hint) + Send + Sync + 'static,
    ) -> Result<Self, ReaderError> {
        let directory = share.layout.writers();
        // Events carry the path as it was given or resolved; either form must be recognised.
        let resolved = directory.canonicalize().unwrap_or_else(|_| directory.clone());
        let roots = [directory.clone(), resolved];
        let failed = |source| ReaderError::Watch { path: directory.display().to_string(), source };
        let changed = Arc::new(changed);
        let (newcomer, newcomers) = mpsc::channel();
        let tell = Arc::clone(&changed);
        let handler = move |event: notify::Result<Event>| match event {
            Ok(event) if !tells_nothing(event.kind) => {
                for path in &event.paths {
                    let hint = hint(&roots, path);
                    if let (EventKind::Create(CreateKind::Folder), Hint::Writer(writer)) = (event.kind, &hint)
                    {
                        // Not here: a watch waits for the thread that this runs on.
                        drop(newcomer.send(writer.clone()));
                    }
                    tell(hint);
                }
            }
            Ok(_) => {}
            Err(_) => tell(Hint::Anything),
        };
        let mut watcher = RecommendedWatcher::new(handler, Config::default()).map_err(failed)?;
        watcher.watch(&directory, RecursiveMode::NonRecursive).map_err(failed)?;
        for writer in writers(system, share)?.writers {
            match watcher.watch(&share.layout.writer(&writer), RecursiveMode::NonRecursive) {
                // One that may not be looked into, or went away, keeps nobody from hearing of the others.
                Err(error) if !matches!(error.kind, ErrorKind::MaxFilesWatch) => {}
                other => other.map_err(failed)?,
            }
        }
        let watcher = Arc::new(Mutex::new(watcher));
        let (share, weak) = (share.clone(), Arc::downgrade(&watcher));
        // Ends with the watcher, which owns the other end of the channel.
        std::thread::spawn(move || {
            for writer in newcomers {
                let Some(watcher) = weak.upgrade() else { return };
                let path = share.layout.writer(&writer);
                let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
                // What can't be watched is polled.
                drop(watcher.watch(&path, RecursiveMode::NonRecursive));
                drop(watcher);
                // What came before the watch.
                changed(Hint::Writer(writer));
            }
        });
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
