//! Pages for people, the JSON API, the event stream.

pub mod view;
