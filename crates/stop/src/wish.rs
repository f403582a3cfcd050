//! The wish to end, as it is shared by all that works in a program.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// Why a program is to end before its work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody asked for it: by Ctrl-C, by a signal, or as the controller of this program.
    Asked,
    /// Something that is to be told as an error, as that the lock of the index was lost.
    Fault(String),
}

/// A wish to end. Clones are the same wish.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wished: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reason: Option<Reason>,
    waits_for: String,
    wakers: Vec<Waker>,
    at_end: Vec<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("reason", &self.reason)
            .field("waits_for", &self.waits_for)
            .finish_non_exhaustive()
    }
}

impl Stop {
    /// Wishes an end. The first reason stays.
    pub fn now(&self, reason: Reason) {
        let mut state = self.lock();
        state.reason.get_or_insert(reason);
        self.0.wished.store(true, Ordering::SeqCst);
        state.wakers.drain(..).for_each(Waker::wake);
        self.0.changed.notify_all();
    }

    /// Whether an end is wished.
    pub fn wished(&self) -> bool {
        self.0.wished.load(Ordering::SeqCst)
    }

    /// Why, if it is.
    pub fn reason(&self) -> Option<Reason> {
        self.lock().reason.clone()
    }

    /// Takes the wish back, when what it was for has been given up and the program goes on.
    pub fn forget(&self) {
        self.lock().reason = None;
        self.0.wished.store(false, Ordering::SeqCst);
    }

    /// Says what would have to be waited for if the person wished an end now: "the merger on duc17".
    pub fn waits_for(&self, what: impl Into<String>) {
        self.lock().waits_for = what.into();
    }

    /// What was said last by [`Stop::waits_for`].
    pub fn what_is_waited_for(&self) -> String {
        self.lock().waits_for.clone()
    }

    /// Has this done before the process is ended without order, if it takes no longer than a moment.
    pub fn at_end(&self, last: impl FnOnce() + Send + 'static) {
        self.lock().at_end.push(Box::new(last));
    }

    /// What is to be done before the end.
    pub(crate) fn last_things(&self) -> Vec<Box<dyn FnOnce() + Send>> {
        std::mem::take(&mut self.lock().at_end)
    }

    /// Returns when an end is wished.
    pub async fn wait(&self) {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.reason.is_some() {
                return Poll::Ready(());
            }
            if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                state.wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Sleeps for so long, or until an end is wished. True if it is.
    pub fn sleep(&self, time: Duration) -> bool {
        let waited = self.0.changed.wait_timeout_while(self.lock(), time, |state| state.reason.is_none());
        drop(waited);
        self.wished()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under it leaves it half changed.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Wake};

    use super::*;

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn whoever_waits_is_woken_and_the_first_reason_stays() {
        let stop = Stop::default();
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = flag.clone().into();
        let mut context = Context::from_waker(&waker);
        let (one, other) = (stop.clone(), stop.clone());
        let mut waiting = pin!(one.wait());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        let sleeper = std::thread::spawn(move || other.sleep(Duration::from_secs(60)));
        stop.now(Reason::Fault("the lock was lost".into()));
        stop.now(Reason::Asked);
        assert!(flag.0.load(Ordering::SeqCst) && sleeper.join().unwrap());
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        assert_eq!(stop.reason(), Some(Reason::Fault("the lock was lost".into())));
        stop.forget();
        assert!(!stop.wished() && !stop.sleep(Duration::ZERO));
    }
}
