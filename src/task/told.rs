//! What several hosts say, put together: of bounded length, since an event has to fit the store
//! whatever becomes of however many hosts. Pure; called by `next` and `stop`.

/// What one event tells of all hosts together, in bytes.
const TOLD_BYTES_MAX: usize = 8 * 1024;
/// What one host may say of it where there are several, in bytes: a few of them are always heard.
const ONE_BYTES_MAX: usize = 2 * 1024;

/// Messages of hosts as one text: as many as fit, and how many more there are.
pub(super) fn together<'m>(messages: impl IntoIterator<Item = &'m str>) -> String {
    let messages: Vec<&str> = messages.into_iter().collect();
    let one_bytes_max = match messages.len() {
        1 => TOLD_BYTES_MAX,
        _ => ONE_BYTES_MAX,
    };
    let mut text = String::new();
    let mut left_out = 0_usize;
    for message in messages {
        let message = cut(message, one_bytes_max);
        if left_out > 0 || text.len() + message.len() > TOLD_BYTES_MAX {
            left_out += 1;
            continue;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&message);
    }
    match left_out {
        0 => text,
        1 => format!("{text}; and 1 more host"),
        more => format!("{text}; and {more} more hosts"),
    }
}

/// A text of at most so many bytes and a mark that it went on.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} …", &text[..end])
}

/// Why something went back, and what there is to say about the way.
pub(crate) fn joined(reason: &str, message: &str) -> String {
    if message.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason}; going back: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thousand_hosts_say_fits_one_event() {
        let said = vec!["x".repeat(2_000); 1_000];
        let text = together(said.iter().map(String::as_str));
        assert!(text.len() < 9 * 1024, "{}", text.len());
        assert!(text.ends_with("; and 996 more hosts"), "{}", &text[8_000..]);
    }

    #[test]
    fn one_host_that_says_much_leaves_room_for_others() {
        let long = "é".repeat(100_000);
        let text = together([long.as_str(), "b: refused"]);
        assert!(text.ends_with(" …; b: refused"), "{}", &text[2_000..]);
    }

    #[test]
    fn few_words_are_told_whole() {
        assert_eq!(together(["a: x", "b: y"]), "a: x; b: y");
        assert_eq!(together([]), "");
    }
}
