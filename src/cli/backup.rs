//! `tagship backup` and `tagship restore`. A backup comes from the agent, or from the store if no
//! agent runs; a restore requires that none runs.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures::{Stream, TryStreamExt as _};

use super::arguments::{Backup, Restore};
use super::client::ApiRequest;
use super::context::{AgentConnection, CliContext, is_no_agent, owned_directory};
use super::error::CommandError;
use super::screen;
use super::times::Zone;
use crate::agent;
use crate::api::TakeBackup;
use crate::base::clock::{Clock as _, SystemClock};
use crate::base::durable::{directory_of, put_in_place};
use crate::config::Engine;
use crate::store::backup::file::{BackupCounts, BackupReader, BackupVerifier};
use crate::store::backup::restore::{self, ExistingStore, RestoreRequest};
use crate::store::backup::{self, LogInclusion};
use crate::store::log::LogBook;

/// Standard output, in place of a file.
const OUTPUT: &str = "-";

/// `tagship backup`.
pub(crate) async fn backup(ctx: &CliContext, args: &Backup) -> Result<(), CommandError> {
    let to_output = args.file.as_os_str() == OUTPUT;
    if to_output && io::stdout().is_terminal() {
        return Err(CommandError::BackupOnTerminal);
    }
    let AgentConnection { client, .. } = ctx.agent().await?;
    let body = TakeBackup {
        without_logs: args.without_logs,
    };
    let ask = ApiRequest::post(["backup"], &body);
    let chunks = client.stream(&ask).await;
    match chunks.map_err(CommandError::from) {
        Ok(chunks) => {
            let chunks = chunks.map_err(|error| CommandError::Backup(error.to_string()));
            take(chunks, args).await
        }
        Err(error) if !ctx.is_elsewhere() && is_no_agent(&error) => from_store(ctx, args).await,
        Err(error) => Err(error),
    }
}

/// Reads the store, which no agent holds.
async fn from_store(ctx: &CliContext, args: &Backup) -> Result<(), CommandError> {
    let config = ctx.config()?;
    owned_directory(&config)?;
    if !agent::store_directory(&config).exists() {
        return Err(CommandError::Backup(format!(
            "no agent answers, and there is no store in {}",
            config.agent.data_dir.display()
        )));
    }
    let store = agent::open_store(&config).await;
    let store = store.map_err(|error| CommandError::Backup(format!("{error:#}")))?;
    let logs = LogBook::new(config.agent.data_dir.join("logs"));
    let which = match args.without_logs {
        true => LogInclusion::LeftOut,
        false => LogInclusion::Included,
    };
    let chunks = backup::stream(store.kv(), logs, which, SystemClock.now());
    let chunks = chunks.map_err(|error| CommandError::Backup(error.to_string()));
    take(chunks, args).await
}

async fn take(
    chunks: impl Stream<Item = Result<Vec<u8>, CommandError>>,
    args: &Backup,
) -> Result<(), CommandError> {
    if args.file.as_os_str() == OUTPUT {
        return print(chunks).await;
    }
    let counts = save(chunks, &args.file).await?;
    screen::print(&format!(
        "{} holds {} rows of the store and {} logs\n",
        args.file.display(),
        counts.rows,
        counts.logs
    ))
}

async fn print(
    chunks: impl Stream<Item = Result<Vec<u8>, CommandError>>,
) -> Result<(), CommandError> {
    let mut chunks = pin!(chunks);
    let mut seal = BackupVerifier::default();
    let mut output = io::stdout();
    while let Some(chunk) = chunks.try_next().await? {
        seal.pass(&chunk);
        output.write_all(&chunk)?;
    }
    output.flush()?;
    seal.close()
        .map_err(|error| CommandError::Backup(error.to_string()))
}

/// A file that is removed unless it is put in place.
struct PartialFile {
    path: PathBuf,
    file: File,
    in_place: bool,
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.in_place {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes next to the file, verifies what was written, and only then puts it in place, durably.
async fn save(
    chunks: impl Stream<Item = Result<Vec<u8>, CommandError>>,
    path: &Path,
) -> Result<BackupCounts, CommandError> {
    let mut unfinished = beside(path)?;
    let failed = |error: io::Error| CommandError::File {
        doing: "write",
        path: path.to_owned(),
        error,
    };
    let mut chunks = pin!(chunks);
    while let Some(chunk) = chunks.try_next().await? {
        unfinished.file.write_all(&chunk).map_err(failed)?;
    }
    let written = File::open(&unfinished.path).map_err(failed)?;
    let counts = BackupReader::new(io::BufReader::new(written)).and_then(BackupReader::verify);
    let counts = counts.map_err(|error| CommandError::Backup(error.to_string()))?;
    put_in_place(&unfinished.file, &unfinished.path, path).map_err(failed)?;
    unfinished.in_place = true;
    Ok(counts)
}

/// Creates the temporary file. It holds password hashes: no one else may read it at any time.
fn beside(path: &Path) -> Result<PartialFile, CommandError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = format!(".{name}.{}.unfinished", std::process::id());
    let unfinished = directory_of(path).join(unfinished);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    match options.open(&unfinished) {
        Ok(file) => Ok(PartialFile {
            path: unfinished,
            file,
            in_place: false,
        }),
        Err(error) => Err(CommandError::File {
            doing: "make",
            path: unfinished,
            error,
        }),
    }
}

/// `tagship restore`.
pub(crate) async fn restore(ctx: &CliContext, args: &Restore) -> Result<(), CommandError> {
    let config = ctx.config()?;
    owned_directory(&config)?;
    if config.store.engine == Engine::Memory {
        return Err(CommandError::Option {
            option: "[store] engine",
            reason: "a store in memory cannot be restored; set it to \"sled\"".to_owned(),
        });
    }
    let store = agent::store_directory(&config);
    let done = restore::restore(RestoreRequest {
        file: &args.file,
        data_dir: &config.agent.data_dir,
        store: &store,
        former: match args.replace {
            true => ExistingStore::KeepBeside,
            false => ExistingStore::Refuse,
        },
        next_id: args.next_id,
        now: SystemClock.now(),
    })
    .await?;
    let zone = Zone::new(config.time_zone());
    let mut text = format!(
        "the store is that of {}: {} rows, {} logs\nthe next task is number {}\n",
        zone.show(done.header.created_at),
        done.counts.rows,
        done.counts.logs,
        done.next_id
    );
    if let Some(former) = &done.former {
        text += &format!("the previous store is in {}\n", former.display());
    }
    if !done.held.is_empty() {
        let ids: Vec<String> = done.held.iter().map(u64::to_string).collect();
        text += &format!(
            "these tasks were unfinished then and do not begin by themselves: {}\n",
            ids.join(", ")
        );
    }
    text += "tokens that were revoked and users who were removed since the backup exist again: see `tagship user list`\n";
    screen::print(&text)
}
