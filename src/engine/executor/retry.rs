//! Performs an operation again whose answer was lost, since all but a program may be performed
//! twice. A program is followed by its own step (`step/program.rs`).

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};

use super::effects::World;
use crate::base::clock::Clock;
use crate::domain::host::{HostError, Hosts, OPERATION_PAUSES_S, Op, Output, Reply};
use crate::domain::plan::Plan;

impl World {
    /// Returns the hosts of a task.
    pub(super) fn hosts(&self, plan: &Plan) -> Arc<dyn Hosts> {
        Arc::new(RetryingHosts {
            hosts: self.fleet.hosts(plan),
            clock: Arc::clone(&self.clock),
        })
    }
}

/// Hosts whose operations are retried.
pub struct RetryingHosts {
    pub hosts: Arc<dyn Hosts>,
    pub clock: Arc<dyn Clock>,
}

impl Hosts for RetryingHosts {
    fn perform<'a>(
        &'a self,
        host: &'a str,
        op: &'a Op,
        output: &'a dyn Output,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        async move {
            let mut lost = false;
            let mut pauses = OPERATION_PAUSES_S.into_iter();
            loop {
                let answer = self.hosts.perform(host, op, output).await;
                let error = match answer {
                    Err(HostError::Lost(reason)) => HostError::Lost(reason),
                    // It may have acted before.
                    Err(HostError::NotReached(reason)) if lost => HostError::Lost(reason),
                    answer => return answer,
                };
                let pause = pauses.next().filter(|_| !matches!(op, Op::Run { .. }));
                let Some(pause) = pause else {
                    return Err(error);
                };
                output.line(&format!("{error}; trying again"));
                self.clock.pause(Duration::from_secs(pause)).await;
                lost = true;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use jiff::Timestamp;

    use super::*;
    use crate::engine::executor::step::Silent;

    struct NoPause;

    impl Clock for NoPause {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn sleep_until(&self, _at: Timestamp) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }

        fn pause(&self, _time: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    /// Gives these answers in order.
    struct Answers(Mutex<Vec<Result<Reply, HostError>>>);

    impl Hosts for Answers {
        fn perform<'a>(
            &'a self,
            _host: &'a str,
            _op: &'a Op,
            _output: &'a dyn Output,
        ) -> BoxFuture<'a, Result<Reply, HostError>> {
            let answer = self.0.lock().unwrap().remove(0);
            Box::pin(std::future::ready(answer))
        }
    }

    /// Returns the last answer to a kill, and how many answers were not requested.
    async fn answered(answers: Vec<Result<Reply, HostError>>) -> (Result<Reply, HostError>, usize) {
        let answers = Arc::new(Answers(Mutex::new(answers)));
        let hosts = RetryingHosts {
            hosts: Arc::clone(&answers) as Arc<dyn Hosts>,
            clock: Arc::new(NoPause),
        };
        let op = Op::Kill {
            deploy_to: "/srv/shop".to_owned(),
            key: "1".to_owned(),
        };
        let answer = hosts.perform("a", &op, &Silent).await;
        let left = answers.0.lock().unwrap().len();
        (answer, left)
    }

    fn lost(reason: &str) -> Result<Reply, HostError> {
        Err(HostError::Lost(reason.to_owned()))
    }

    #[tokio::test]
    async fn lost_operation_is_never_reported_as_unreached() {
        let down = || Err(HostError::NotReached("down".to_owned()));
        let answers = vec![lost("cut"), down(), down(), Ok(Reply::Killed)];
        assert_eq!(answered(answers).await, (lost("down"), 1));
        assert_eq!(answered(vec![down()]).await, (down(), 0));
    }

    #[tokio::test]
    async fn refused_operation_is_not_retried() {
        let refused = || Err(HostError::Refused("no".to_owned()));
        let answers = vec![lost("cut"), refused(), Ok(Reply::Killed)];
        assert_eq!(answered(answers).await, (refused(), 1));
    }
}
