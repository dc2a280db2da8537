//! Which key means what.
//!
//! A key becomes an [`Action`] here and nowhere else; what an action does depends on the screen and is up to `app`.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Declares the actions together with what the help says about them, so that none can be without.
macro_rules! actions {
    ($($name:ident: $meaning:literal,)*) => {
        /// What a user can ask for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Action {
            $(#[doc = $meaning] $name,)*
        }

        impl Action {
            /// All of them, in the order of the help.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it does, for the help.
            pub(crate) fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

actions! {
    Up: "up: the alert above, or scroll",
    Down: "down: the alert below, or scroll",
    PageUp: "a page up",
    PageDown: "a page down",
    First: "to the top",
    Last: "to the bottom",
    Open: "look into the chosen alert",
    Back: "back to the screen before",
    Next: "the next alert",
    Previous: "the previous alert",
    Help: "this help",
    Quit: "quit",
}

/// A key with its modifiers, as it is written in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    label: &'static str,
    modifiers: KeyModifiers,
    code: KeyCode,
}

const fn key(label: &'static str, code: KeyCode) -> Key {
    Key {
        label,
        modifiers: KeyModifiers::NONE,
        code,
    }
}

const fn ctrl(label: &'static str, c: char) -> Key {
    Key {
        label,
        modifiers: KeyModifiers::CONTROL,
        code: KeyCode::Char(c),
    }
}

/// The keys of each action; the one to teach comes first.
const BINDINGS: &[(Action, &[Key])] = &[
    (Action::Up, &[key("Up", KeyCode::Up), key("k", KeyCode::Char('k'))]),
    (
        Action::Down,
        &[key("Down", KeyCode::Down), key("j", KeyCode::Char('j'))],
    ),
    (Action::PageUp, &[key("PgUp", KeyCode::PageUp), ctrl("Ctrl-U", 'u')]),
    (Action::PageDown, &[key("PgDn", KeyCode::PageDown), ctrl("Ctrl-D", 'd')]),
    (
        Action::First,
        &[key("Home", KeyCode::Home), key("g", KeyCode::Char('g'))],
    ),
    (Action::Last, &[key("End", KeyCode::End), key("G", KeyCode::Char('G'))]),
    (
        Action::Open,
        &[
            key("Enter", KeyCode::Enter),
            key("Right", KeyCode::Right),
            key("l", KeyCode::Char('l')),
        ],
    ),
    (
        Action::Back,
        &[
            key("Esc", KeyCode::Esc),
            key("Left", KeyCode::Left),
            key("h", KeyCode::Char('h')),
        ],
    ),
    (Action::Next, &[key("Tab", KeyCode::Tab)]),
    (Action::Previous, &[key("Shift-Tab", KeyCode::BackTab)]),
    (Action::Help, &[key("?", KeyCode::Char('?'))]),
    (Action::Quit, &[key("q", KeyCode::Char('q')), ctrl("Ctrl-C", 'c')]),
];

/// What this key asks for.
pub(crate) fn action(event: KeyEvent) -> Option<Action> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    // Terminals disagree about whether `G` and Shift-Tab come with Shift; the code says it already.
    let modifiers = event.modifiers.difference(KeyModifiers::SHIFT);
    let bound = |key: &Key| key.code == event.code && key.modifiers == modifiers;
    BINDINGS
        .iter()
        .find(|(_, keys)| keys.iter().any(bound))
        .map(|(action, _)| *action)
}

/// The keys of an action as the help shows them.
pub(crate) fn labels(action: Action) -> impl Iterator<Item = &'static str> {
    BINDINGS
        .iter()
        .filter(move |(bound, _)| *bound == action)
        .flat_map(|(_, keys)| keys.iter().map(|key| key.label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_key_and_no_key_two_actions() {
        for action in Action::ALL {
            assert!(labels(*action).next().is_some(), "{action:?} has no key");
        }
        for (expected, keys) in BINDINGS {
            for key in *keys {
                assert_eq!(
                    action(KeyEvent::new(key.code, key.modifiers)),
                    Some(*expected),
                    "{}",
                    key.label
                );
            }
        }
    }

    #[test]
    fn shift_is_part_of_the_character() {
        assert_eq!(
            action(KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT)),
            Some(Action::Last)
        );
        assert_eq!(
            action(KeyEvent::new(KeyCode::Char('g'), KeyModifiers::NONE)),
            Some(Action::First)
        );
        assert_eq!(action(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT)), None);
    }
}
