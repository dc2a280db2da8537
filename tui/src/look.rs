//! How things look: the characters to draw with and the styles to draw in.
//!
//! Owns no words. Every style also works without colour, since colour is never the only carrier of a meaning.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::scrollbar;

/// Which characters may reach the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    /// All that are visible.
    Unicode,
    /// The visible ones of ASCII.
    Ascii,
}

/// The characters to draw with. All are one column wide, except where said.
#[derive(Debug)]
pub(crate) struct Glyphs {
    pub firing: &'static str,
    pub suspected: &'static str,
    pub resolved: &'static str,
    pub unknown: &'static str,
    pub connected: &'static str,
    pub reconnecting: &'static str,
    pub trouble: &'static str,
    pub selected: &'static str,
    /// Between facts on one line.
    pub dot: &'static str,
    /// Ends a text that was cut.
    pub ellipsis: &'static str,
    /// After a number: so many times.
    pub times: &'static str,
    /// Points out the wait that times out first. May be wider.
    pub first: &'static str,
    pub horizontal: &'static str,
    pub vertical: &'static str,
    pub top_left: &'static str,
    pub top_right: &'static str,
    pub bottom_left: &'static str,
    pub bottom_right: &'static str,
    /// A line that leaves a box downwards.
    pub leaves: &'static str,
    /// A line that goes on down, with a branch to the right.
    pub branches: &'static str,
    pub into_right: &'static str,
    pub into_down: &'static str,
    pub scrollbar: scrollbar::Set<'static>,
}

const UNICODE: Glyphs = Glyphs {
    firing: "▲",
    suspected: "?",
    resolved: "✓",
    unknown: "?",
    connected: "●",
    reconnecting: "○",
    trouble: "✗",
    selected: "▌",
    dot: "·",
    ellipsis: "…",
    times: "×",
    first: "◀ first",
    horizontal: "─",
    vertical: "│",
    top_left: "╭",
    top_right: "╮",
    bottom_left: "╰",
    bottom_right: "╯",
    leaves: "┬",
    branches: "├",
    into_right: "▶",
    into_down: "▼",
    scrollbar: scrollbar::Set {
        track: "│",
        thumb: "┃",
        begin: "",
        end: "",
    },
};

const ASCII: Glyphs = Glyphs {
    firing: "!",
    suspected: "?",
    resolved: "*",
    unknown: "?",
    connected: "+",
    reconnecting: "~",
    trouble: "x",
    selected: ">",
    dot: "-",
    ellipsis: "~",
    times: "x",
    first: "<- first",
    horizontal: "-",
    vertical: "|",
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    leaves: "+",
    branches: "+",
    into_right: ">",
    into_down: "v",
    scrollbar: scrollbar::Set {
        track: "|",
        thumb: "#",
        begin: "",
        end: "",
    },
};

/// How the monitor looks in this terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    color: bool,
    pub(crate) charset: Charset,
}

impl Look {
    pub(crate) fn new(color: bool, charset: Charset) -> Self {
        Self { color, charset }
    }

    pub(crate) fn glyphs(self) -> &'static Glyphs {
        match self.charset {
            Charset::Unicode => &UNICODE,
            Charset::Ascii => &ASCII,
        }
    }

    fn tint(self, color: Color) -> Style {
        if self.color {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    /// Something is wrong.
    pub(crate) fn alarm(self) -> Style {
        self.tint(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Something is about to happen, or is not certain.
    pub(crate) fn caution(self) -> Style {
        self.tint(Color::Yellow)
    }

    /// All is well.
    pub(crate) fn calm(self) -> Style {
        self.tint(Color::Green)
    }

    /// A name that one looks for.
    pub(crate) fn name(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The lines of the drawing.
    pub(crate) fn line(self) -> Style {
        self.tint(Color::Cyan)
    }

    /// What one need not read first.
    pub(crate) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The mark of what is chosen.
    pub(crate) fn chosen(self) -> Style {
        self.tint(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The same, on a ground of its own.
    pub(crate) fn badge(self, style: Style) -> Style {
        style.add_modifier(Modifier::REVERSED | Modifier::BOLD)
    }
}
