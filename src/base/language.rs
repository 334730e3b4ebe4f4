//! The languages of pages and messages. All their text is in `templates/text/`, one file for each
//! language in the syntax of Fluent (<https://projectfluent.org/fluent/guide/>).
//!
//! `tests/tidy/texts.rs` compares both files with each other and with the names that pages use.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use serde::{Deserialize, Serialize};

/// A language of pages and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    #[default]
    #[serde(rename = "en")]
    English,
    /// Simplified Chinese.
    #[serde(rename = "zh")]
    Chinese,
}

type Texts = FluentBundle<FluentResource>;

static ENGLISH: LazyLock<Texts> =
    LazyLock::new(|| texts("en", include_str!("../../templates/text/en.ftl")));
static CHINESE: LazyLock<Texts> =
    LazyLock::new(|| texts("zh-CN", include_str!("../../templates/text/zh.ftl")));

impl Language {
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// Returns its name in configuration, cookies and forms.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// Returns its tag in HTML and HTTP (BCP 47).
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    /// Returns its name in itself.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Chinese => "中文",
        }
    }

    /// Returns the language of this code.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|language| language.code() == code)
    }

    /// Returns the language that a browser prefers by its header `Accept-Language` (RFC 9110,
    /// section 12.5.4); English if it names no known one.
    #[must_use]
    pub fn preferred(accepted: &str) -> Self {
        let mut best = (0.0, Self::default());
        for range in accepted.split(',') {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, "q=1"));
            let primary = tag.trim().split('-').next().unwrap_or_default();
            let weight = parameters.trim().strip_prefix("q=").unwrap_or("1");
            let weight: f32 = weight.trim().parse().unwrap_or(0.0);
            if let Some(language) = Self::of_code(&primary.to_ascii_lowercase())
                && weight > best.0
            {
                best = (weight, language);
            }
        }
        best.1
    }

    /// Returns the text of this id.
    #[must_use]
    pub fn say(self, id: impl Into<Cow<'static, str>>) -> Sentence {
        Sentence {
            language: self,
            message: Message::new(id),
        }
    }

    fn texts(self) -> &'static Texts {
        match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        }
    }
}

/// Parses the texts of a language. What does not parse is missing; a test notices that.
fn texts(tag: &str, source: &str) -> Texts {
    let locale = tag.parse().map(|locale| vec![locale]);
    let mut texts = FluentBundle::new_concurrent(locale.unwrap_or_default());
    // Directional isolates would be copied along with names, commands and paths.
    texts.set_use_isolating(false);
    let resource = match FluentResource::try_new(source.to_owned()) {
        Ok(resource) | Err((resource, _)) => resource,
    };
    texts.add_resource_overriding(resource);
    texts
}

/// A text by its id, with the values in it, for readers of any language.
#[derive(Clone, Debug)]
pub struct Message {
    id: Cow<'static, str>,
    values: Vec<(&'static str, FluentValue<'static>)>,
}

impl Message {
    #[must_use]
    pub fn new(id: impl Into<Cow<'static, str>>) -> Self {
        Self {
            id: id.into(),
            values: Vec::new(),
        }
    }

    /// Sets the value `$name`: text, or a number that selects the plural.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<FluentValue<'static>>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// Returns it as a sentence of this language.
    #[must_use]
    pub fn sentence(self, language: Language) -> Sentence {
        Sentence {
            language,
            message: self,
        }
    }

    /// Returns the text; the id if there is no such text.
    #[must_use]
    pub fn in_language(&self, language: Language) -> String {
        let texts = language.texts();
        let pattern = texts.get_message(&self.id).and_then(|text| text.value());
        let Some(pattern) = pattern else {
            return self.id.clone().into_owned();
        };
        let values: FluentArgs<'_> = self.values.iter().cloned().collect();
        let mut errors = Vec::new();
        let text = texts.format_pattern(pattern, Some(&values), &mut errors);
        text.into_owned()
    }
}

/// In English, for logs, API and command line.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_language(Language::English))
    }
}

/// A [`Message`] in one language.
#[derive(Clone, Debug)]
pub struct Sentence {
    language: Language,
    message: Message,
}

impl Sentence {
    /// See [`Message::with`].
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<FluentValue<'static>>) -> Self {
        self.message = self.message.with(name, value);
        self
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message.in_language(self.language))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browser_gets_the_language_it_prefers() {
        for (accepted, language) in [
            ("", Language::English),
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese),
            ("en-GB, zh;q=0.9", Language::English),
            ("en;q=0.3, ZH-tw;q=0.7", Language::Chinese),
            ("de, fr;q=0.5", Language::English),
            ("zh;q=0", Language::English),
            ("zh;q=nonsense", Language::English),
        ] {
            assert_eq!(Language::preferred(accepted), language, "{accepted}");
        }
    }

    #[test]
    fn numbers_select_the_plural() {
        let commits = |language: Language, number: u64| {
            language.say("commits").with("count", number).to_string()
        };
        assert_eq!(commits(Language::English, 1), "1 commit");
        assert_eq!(commits(Language::English, 2), "2 commits");
        assert_eq!(commits(Language::Chinese, 2), "2 个提交");
    }

    #[test]
    fn unknown_id_is_shown_as_it_is() {
        assert_eq!(
            Language::Chinese.say("no-such-text").to_string(),
            "no-such-text"
        );
    }
}
