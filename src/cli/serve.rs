//! `tagship serve`: runs the agent in this process until a signal ends it.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::context::CliContext;
use super::error::CommandError;
use super::screen;
use crate::agent::Agent;
use crate::config::{LocalConfig, LogFormat};

/// Runs the agent until SIGTERM or SIGINT.
pub(crate) async fn serve(ctx: &CliContext) -> Result<(), CommandError> {
    let config = ctx.config_of(LocalConfig::Also)?;
    start_log(&config.log.filter, config.log.format)?;
    // Before anything is started, so that an early signal also causes a clean shutdown.
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Runtime)?;
    let failed = |error: anyhow::Error| CommandError::Serve(causes(&error));
    let agent = Agent::start(config).await.map_err(failed)?;
    let (end, ended) = watch::channel(false);
    let signals = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("a signal ends the agent");
        end.send_replace(true);
        // The channel stays open while the agent runs.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = agent.run(ended) => result.map_err(failed),
        () = signals => Ok(()),
    }
}

/// Returns an error and its causes, each once.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn start_log(filter: &str, format: LogFormat) -> Result<(), CommandError> {
    let filter =
        tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| CommandError::Option {
            option: "[log] filter",
            reason: error.to_string(),
        })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are for terminals; a journal or a file gets plain text.
        .with_ansi(screen::has_color(&io::stderr()))
        .with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| CommandError::Serve(format!("the log cannot be started: {error}")))
}
