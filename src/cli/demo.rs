//! `tagship demo`: a complete tagship on one machine, to try out. A bare repository with the hook,
//! an agent, and an sshd that serves as three hosts; then releases of a small shop.
//!
//! It does nothing itself: it starts git, sshd and tagship's own commands, and shows each as a
//! person would type it. It writes below `var/demo` only, and everything that it started ends with
//! it, however it ends.

mod directory;
mod processes;
mod sshd;
mod walk;

use std::future::Future;
use std::io::{IsTerminal as _, stdin};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::arguments::Demo;
use super::context::CliContext;
use super::error::{CommandError, DemoError};
use super::screen;
use crate::config::{Config, LocalConfig};

use directory::DemoDirectory;
use processes::Processes;
use walk::DemoWalk;

/// `tagship demo`.
pub(crate) async fn demo(ctx: &CliContext, args: &Demo) -> Result<(), CommandError> {
    let mut signals = Signals::new().map_err(CommandError::Runtime)?;
    processes::check_programs()?;
    let ground = DemoDirectory::claim(preferred_port(ctx)?)?;
    let auto = args.auto || !stdin().is_terminal();
    // Dropping it ends all processes that were started, also after an error or a panic.
    let mut walk = DemoWalk::new(ground, Processes::new()?, args.hook.clone())?;
    let result = play(&mut walk, auto, &mut signals).await;
    walk.end().await;
    result?;
    screen::print("\nAgent and hosts have ended. What they wrote stays in var/demo.\n")
}

async fn play(walk: &mut DemoWalk, auto: bool, signals: &mut Signals) -> Result<(), CommandError> {
    signals.or_interrupted(walk.set_up()).await?;
    if auto {
        return signals.or_interrupted(walk.approve_and_go_back()).await;
    }
    walk.invite()?;
    // An interrupt is the normal way to end it.
    signals.or_signal(walk.watch()).await.unwrap_or(Ok(()))
}

/// Returns the port of the page: the configured one, if it is free.
fn preferred_port(ctx: &CliContext) -> Result<u16, CommandError> {
    let config = match ctx.config_of(LocalConfig::Also) {
        // A file that the user did not name need not be meant for a demo.
        Err(_) if !ctx.names_config() => Config::default(),
        found => found?,
    };
    Ok(config.agent.listen.port())
}

/// The signals that end a program.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Returns the future's output; `None` if a signal came first.
    async fn or_signal<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            result = future => Some(result),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
        }
    }

    async fn or_interrupted(
        &mut self,
        future: impl Future<Output = Result<(), CommandError>>,
    ) -> Result<(), CommandError> {
        let result = self.or_signal(future).await;
        result.unwrap_or(Err(DemoError::Interrupted.into()))
    }
}
