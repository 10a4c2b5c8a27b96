//! Does many things at once that may hang, and does not wait for those that do.
//!
//! Over NFS, opening a file for which a host that is cut off holds a delegation takes as long as that host's lease, and a server that is
//! away answers nothing at all. Such a call can't be ended; so it is left to its thread, which ends with the process.

use std::collections::VecDeque;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// So many threads at most.
const CREW: usize = 16;

/// What became of a task.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended<A> {
    Done(A),
    /// It was begun and gives no answer.
    Hangs,
    /// No thread was free for it: all of them hang.
    NotBegun,
}

enum News<A> {
    Begun(usize),
    Done(usize, A),
}

/// Does all tasks; gives up those that are left when nothing has ended for as long as `patience`. The answers are in the order of
/// the tasks.
pub(super) fn attempt<T, A>(
    tasks: Vec<T>,
    patience: Duration,
    work: impl Fn(T) -> A + Send + Sync + 'static,
) -> Vec<Ended<A>>
where
    T: Send + 'static,
    A: Send + 'static,
{
    let mut ended: Vec<Ended<A>> = tasks.iter().map(|_| Ended::NotBegun).collect();
    let threads = CREW.min(tasks.len());
    let tasks: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(tasks.into_iter().enumerate().collect()));
    let work = Arc::new(work);
    let (tell, news) = channel();
    for _ in 0..threads {
        let (tasks, work, tell) = (Arc::clone(&tasks), Arc::clone(&work), tell.clone());
        // One thread less is no harm.
        drop(thread::Builder::new().spawn(move || labour(&tasks, &*work, &tell)));
    }
    drop(tell);
    // Ends when all threads have ended, or when nothing comes.
    while let Ok(news) = news.recv_timeout(patience) {
        let (task, state) = match news {
            News::Begun(task) => (task, Ended::Hangs),
            News::Done(task, answer) => (task, Ended::Done(answer)),
        };
        if let Some(place) = ended.get_mut(task) {
            *place = state;
        }
    }
    ended
}

fn labour<T, A>(tasks: &Mutex<VecDeque<(usize, T)>>, work: &impl Fn(T) -> A, tell: &Sender<News<A>>) {
    loop {
        let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((number, task)) = next else { break };
        // Nobody listens any more when it has taken too long.
        if tell.send(News::Begun(number)).is_err() || tell.send(News::Done(number, work(task))).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_secs(3);

    fn hang() {
        loop {
            thread::park();
        }
    }

    #[test]
    fn answers_come_in_the_order_of_the_tasks_and_without_waiting_for_the_patience() {
        let answers = attempt((0..1000).collect(), LONG * 60, |number: u32| number * 2);
        assert_eq!(answers, (0..1000).map(|number| Ended::Done(number * 2)).collect::<Vec<_>>());
        assert_eq!(attempt(Vec::new(), LONG * 60, |number: u32| number), []);
    }

    #[test]
    fn what_hangs_keeps_nothing_else() {
        let answers = attempt((0..100).collect(), SHORT, |number| {
            if number % 10 == 3 {
                hang();
            }
            number
        });
        for (number, answer) in answers.iter().enumerate() {
            let expected = if number % 10 == 3 { Ended::Hangs } else { Ended::Done(number) };
            assert_eq!(*answer, expected, "{number}");
        }
    }

    #[test]
    fn when_everything_hangs_there_are_few_threads_and_the_rest_is_not_begun() {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let answers = attempt((0..100).collect(), SHORT, move |_: usize| {
            count.fetch_add(1, Ordering::Relaxed);
            hang();
        });
        assert_eq!(begun.load(Ordering::Relaxed), CREW);
        let hanging = answers.iter().filter(|answer| **answer == Ended::Hangs).count();
        let not_begun = answers.iter().filter(|answer| **answer == Ended::NotBegun).count();
        assert_eq!((hanging, not_begun), (CREW, 100 - CREW));
    }

    #[test]
    fn whoever_ends_within_the_patience_of_the_one_before_is_waited_for() {
        // One after the other they take longer than the patience.
        let turn = Arc::new(Mutex::new(()));
        let answers = attempt((0..10).collect(), Duration::from_secs(10), move |number: u32| {
            let _turn = turn.lock().unwrap();
            #[expect(clippy::disallowed_methods, reason = "a task that takes its time")]
            thread::sleep(Duration::from_millis(1200));
            number
        });
        assert_eq!(answers, (0..10).map(Ended::Done).collect::<Vec<_>>());
    }
}
