//! Which checks git applies to every fetched object (`git fsck`), and which it ignores.
//!
//! A damaged or malicious object is refused before anything reads it. Everything that `git log` can
//! read is released, though: odd names and dates of people, and directories written by old tools,
//! are common and harmless in history. `checkout` refuses what a *release* must not contain (names
//! such as `..` and `.git`).

/// `-c` arguments of a fetch. git ignores unknown names.
pub(super) const SETTINGS: [&str; 40] = [
    "fetch.fsckObjects=true",
    // People and dates of commits and tags.
    "fetch.fsck.badDate=ignore",
    "fetch.fsck.badDateOverflow=ignore",
    "fetch.fsck.badEmail=ignore",
    "fetch.fsck.badName=ignore",
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingAuthor=ignore",
    "fetch.fsck.missingCommitter=ignore",
    "fetch.fsck.missingEmail=ignore",
    "fetch.fsck.missingNameBeforeEmail=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.missingSpaceBeforeEmail=ignore",
    "fetch.fsck.multipleAuthors=ignore",
    "fetch.fsck.zeroPaddedDate=ignore",
    // The rest of commits and tags.
    "fetch.fsck.badTagName=ignore",
    "fetch.fsck.extraHeaderEntry=ignore",
    "fetch.fsck.missingTaggerEntry=ignore",
    "fetch.fsck.nulInCommit=ignore",
    // Directories.
    "fetch.fsck.badFilemode=ignore",
    "fetch.fsck.emptyName=ignore",
    "fetch.fsck.fullPathname=ignore",
    "fetch.fsck.hasDot=ignore",
    "fetch.fsck.hasDotdot=ignore",
    "fetch.fsck.hasDotgit=ignore",
    "fetch.fsck.largePathname=ignore",
    "fetch.fsck.nullSha1=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    // git leaves such lines and files unread. `attributes_bytes` bounds what is read.
    "fetch.fsck.gitattributesBlob=ignore",
    "fetch.fsck.gitattributesLarge=ignore",
    "fetch.fsck.gitattributesLineLength=ignore",
    // Files that only a work tree with submodules reads: none is ever cloned.
    "fetch.fsck.gitignoreSymlink=ignore",
    "fetch.fsck.gitmodulesBlob=ignore",
    "fetch.fsck.gitmodulesLarge=ignore",
    "fetch.fsck.gitmodulesName=ignore",
    "fetch.fsck.gitmodulesParse=ignore",
    "fetch.fsck.gitmodulesPath=ignore",
    "fetch.fsck.gitmodulesSymlink=ignore",
    "fetch.fsck.gitmodulesUpdate=ignore",
    "fetch.fsck.gitmodulesUrl=ignore",
    "fetch.fsck.mailmapSymlink=ignore",
];

/// Returns fsck's refusal of an object: `error: object ID: treeNotSorted: not properly sorted`.
pub(super) fn refusal(messages: &[String]) -> Option<String> {
    let refused = messages.iter().find_map(|line| {
        let (_, rest) = line.split_once("object ")?;
        let (id, reason) = rest.split_once(": ")?;
        let is_id = id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| format!("object {id}: {reason}"))
    });
    refused.or_else(|| {
        let general = |line: &&String| line.contains("fsck error") || line.contains("fsck failed");
        messages.iter().find(general).cloned()
    })
}
