//! Deserializes a stored event. Logs are read often, and serde buffers every value of a flattened
//! field twice; here the time is extracted while reading. Pure; used wherever [`Recorded`] is
//! deserialized.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer as _, MapAccess, Visitor};

use super::{Event, Recorded};

const TIME: &str = "time";

impl<'de> Deserialize<'de> for Recorded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordedVisitor)
    }
}

struct RecordedVisitor;

impl<'de> Visitor<'de> for RecordedVisitor {
    type Value = Recorded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event with its time")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Recorded, A::Error> {
        let mut time = None;
        let others = Others {
            map,
            time: &mut time,
        };
        let event = Event::deserialize(MapAccessDeserializer::new(others))?;
        let time = time.ok_or_else(|| A::Error::missing_field(TIME))?;
        Ok(Recorded { time, event })
    }
}

/// Passes on every field but the time, which is stored separately.
struct Others<'t, A> {
    map: A,
    time: &'t mut Option<Timestamp>,
}

/// A field name.
#[derive(Deserialize)]
struct Name<'n>(#[serde(borrow)] Cow<'n, str>);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Others<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        loop {
            let Some(Name(name)) = self.map.next_key()? else {
                return Ok(None);
            };
            if name == TIME {
                let earlier = self.time.replace(self.map.next_value()?);
                if earlier.is_some() {
                    return Err(A::Error::duplicate_field(TIME));
                }
                continue;
            }
            return seed.deserialize(name.into_deserializer()).map(Some);
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::domain::task::{Direction, Event, Recorded, StepRef, StepResult};

    #[test]
    fn time_field_may_be_anywhere_but_only_once() {
        let due = Recorded {
            time: jiff::Timestamp::UNIX_EPOCH,
            event: Event::Claimed { fence: 7 },
        };
        for text in [
            r#"{"time":"1970-01-01T00:00:00Z","event":"claimed","fence":7}"#,
            r#"{"event":"claimed","fence":7,"time":"1970-01-01T00:00:00Z"}"#,
            r#"{"fence":7,"event":"claimed","of a later version":[1],"time":"1970-01-01T00:00:00Z"}"#,
            r#"{"f\u0065nce":7,"\u0074ime":"1970-01-01T00:00:00Z","event":"claimed"}"#,
        ] {
            assert_eq!(
                serde_json::from_str::<Recorded>(text).unwrap(),
                due,
                "{text}"
            );
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_value::<Recorded>(value).unwrap(), due);
        }
        for text in [
            r#"{"event":"claimed","fence":7}"#,
            r#"{"time":"1970-01-01T00:00:00Z","fence":7}"#,
            r#"{"time":"1970-01-01T00:00:00Z","time":"1970-01-01T00:00:00Z","event":"due"}"#,
            r#"{"time":"1970-01-01T00:00:00Z","event":"no such event"}"#,
        ] {
            assert!(serde_json::from_str::<Recorded>(text).is_err(), "{text}");
        }
        let refused = serde_json::from_str::<Recorded>("7").unwrap_err();
        assert!(refused.to_string().contains("an event with its time"));
    }

    #[test]
    fn recorded_events_roundtrip() {
        let at = StepRef {
            way: Direction::Back,
            stage: 1,
            host: 2,
            step: 3,
        };
        let values = std::collections::BTreeMap::from([("A".to_owned(), "\"\n".to_owned())]);
        for event in [
            Event::Due,
            Event::Ended {
                at,
                result: StepResult::Done { values },
            },
        ] {
            let recorded = Recorded {
                time: jiff::Timestamp::UNIX_EPOCH,
                event,
            };
            let bytes = serde_json::to_vec(&recorded).unwrap();
            assert_eq!(
                serde_json::from_slice::<Recorded>(&bytes).unwrap(),
                recorded
            );
        }
    }
}
