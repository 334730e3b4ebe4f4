//! Why each rule of a project wins, is shadowed, or does not match: `tagship rules test`.

use std::fmt;

use super::{Rule, RuleError, RuleSet, TAGS, unicode};

/// The result of one rule for a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first rule that matches: this one decides.
    Wins,
    /// It would match, too, but an earlier rule decides. `winner` is counted from 1.
    Shadowed { winner: usize },
    /// The tag does not start with the pattern's literal prefix.
    StartsOtherwise { prefix: String },
    /// It would match from this character of the name on (counted from 1), but a pattern matches
    /// from the start only.
    MatchesLater { at: usize },
    /// It matches nowhere in the name.
    DoesNotMatch,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wins => f.write_str("matches, and decides"),
            Self::Shadowed { winner } => {
                write!(f, "would match too, but rule {winner} comes first")
            }
            Self::StartsOtherwise { prefix } => {
                write!(f, "does not match: the name does not start with {prefix:?}")
            }
            Self::MatchesLater { at } => write!(
                f,
                "does not match: it fits only from character {at} on, and a pattern counts from the start (write .* before it)"
            ),
            Self::DoesNotMatch => f.write_str("does not match"),
        }
    }
}

/// One rule and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained<'a> {
    /// Counted from 1.
    pub number: usize,
    pub rule: &'a Rule,
    pub verdict: Verdict,
}

impl RuleSet {
    /// Returns the result of every rule for a tag; `tag` is a short name or `refs/tags/…`.
    ///
    /// # Errors
    /// An invalid pattern.
    pub fn explain(&self, tag: &str) -> Result<Vec<Explained<'_>>, RuleError> {
        let tag = tag.strip_prefix(TAGS).unwrap_or(tag);
        let mut winner = None;
        let mut explained = Vec::with_capacity(self.rules.len());
        for (index, prepared) in self.rules.iter().enumerate() {
            let outcome = if self.matches(index, prepared, tag)? {
                match winner {
                    Some(winner) => Verdict::Shadowed { winner },
                    None => {
                        winner = Some(index + 1);
                        Verdict::Wins
                    }
                }
            } else {
                let found = unicode(&prepared.rule.pattern)
                    .map_err(|reason| self.error(index, reason))?
                    .find(tag)
                    .map(|found| found.start());
                match found {
                    Some(at) if at > 0 => Verdict::MatchesLater {
                        at: tag[..at].chars().count() + 1,
                    },
                    _ if !tag.starts_with(&prepared.prefix) => Verdict::StartsOtherwise {
                        prefix: prepared.prefix.clone(),
                    },
                    _ => Verdict::DoesNotMatch,
                }
            };
            explained.push(Explained {
                number: index + 1,
                rule: &prepared.rule,
                verdict: outcome,
            });
        }
        Ok(explained)
    }
}
