//! Calls to the share that do not come back. Over NFS a call waits for its server for ever; the lanes it holds up wait with it, and a
//! person must be told for what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zoutbox_format::WriterId;

use super::waits::Wait;

/// A call that takes longer is worth telling.
const LONG: Duration = Duration::from_secs(5);

/// The calls that are under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    under_way: BTreeMap<u64, Call>,
}

#[derive(Debug)]
struct Call {
    /// Whose lane it holds up, if it is one's.
    writer: Option<WriterId>,
    what: String,
    since: Duration,
    told: bool,
}

/// What there is to tell of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Hangs { what: String, since: Duration },
    CameBack { what: String },
}

impl Calls {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, writer: Option<WriterId>, what: String, now: Duration) -> u64 {
        let mut table = self.table();
        table.next += 1;
        let id = table.next;
        table.under_way.insert(id, Call { writer, what, since: now, told: false });
        id
    }

    /// A call is over; there is something to tell if it was told that it hangs.
    pub(super) fn end(&self, id: u64) -> Option<News> {
        let call = self.table().under_way.remove(&id)?;
        call.told.then_some(News::CameBack { what: call.what })
    }

    /// A job of many calls goes on: what hung was the call before. There is something to tell if it was told that it hangs.
    pub(super) fn goes_on(&self, id: u64, now: Duration) -> Option<News> {
        let mut table = self.table();
        let call = table.under_way.get_mut(&id)?;
        call.since = now;
        std::mem::take(&mut call.told).then(|| News::CameBack { what: call.what.clone() })
    }

    /// The calls that have hung for long and were not told yet.
    pub(super) fn news(&self, now: Duration) -> Vec<News> {
        let mut table = self.table();
        table.under_way.values_mut().filter(|call| !call.told && call.hangs(now)).map(Call::tell).collect()
    }

    /// All calls that have hung for long.
    pub(super) fn hanging(&self, now: Duration) -> Vec<Wait> {
        let table = self.table();
        let wait = |call: &Call| Wait {
            writer: call.writer.clone(),
            what: format!("the share does not answer: {}", call.what),
            since: call.since,
        };
        table.under_way.values().filter(|call| call.hangs(now)).map(wait).collect()
    }
}

impl Call {
    fn hangs(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= LONG
    }

    fn tell(&mut self) -> News {
        self.told = true;
        News::Hangs { what: self.what.clone(), since: self.since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_hangs_is_told_once_and_its_return_too() {
        let calls = Calls::default();
        let second = Duration::from_secs(1);
        let orders = Some(WriterId::new("orders").unwrap());
        let begin = |what: &str| calls.begin(orders.clone(), what.into(), second);
        let (slow, quick) = (begin("reading orders"), begin("x"));
        assert_eq!(calls.end(quick), None);
        assert_eq!(calls.news(LONG), []);
        assert_eq!(calls.hanging(LONG), []);
        let hangs = News::Hangs { what: "reading orders".into(), since: second };
        assert_eq!(calls.news(LONG + second), [hangs]);
        assert_eq!(calls.news(LONG * 2), []);
        let what = "the share does not answer: reading orders".to_owned();
        let waits = [Wait { writer: orders.clone(), what, since: second }];
        assert_eq!((calls.hanging(LONG + second), calls.hanging(LONG * 2)), (waits.to_vec(), waits.to_vec()));
        assert_eq!(calls.end(slow), Some(News::CameBack { what: "reading orders".into() }));
        assert_eq!(calls.news(LONG * 3), []);
        assert_eq!(calls.hanging(LONG * 3), []);
    }

    #[test]
    fn a_job_that_takes_long_does_not_hang_as_long_as_it_goes_on() {
        let calls = Calls::default();
        let id = calls.begin(None, "sweeping".into(), Duration::ZERO);
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            now += LONG / 2;
            assert_eq!((calls.goes_on(id, now), calls.news(now), calls.hanging(now)), (None, vec![], vec![]));
        }
        let since = now;
        now += LONG;
        assert_eq!(calls.news(now), [News::Hangs { what: "sweeping".into(), since }]);
        assert_eq!(calls.hanging(now).len(), 1);
        assert_eq!(calls.goes_on(id, now), Some(News::CameBack { what: "sweeping".into() }));
        assert_eq!((calls.goes_on(id, now), calls.hanging(now)), (None, vec![]));
        assert_eq!((calls.end(id), calls.goes_on(id, now)), (None, None));
    }
}
