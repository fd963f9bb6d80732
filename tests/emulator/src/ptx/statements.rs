//! PTX text to statements: what ends with a semicolon, labels, and braces of bodies.

/// A statement with the line at which it begins, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub line: u32,
    pub text: String,
}

/// Splits `text`; comments are dropped, as are directives that end with their line.
pub fn statements(text: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut open = Open { text: String::new(), line: 0, braces: 0 };
    for (number, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or("");
        for character in line.chars() {
            open.take(character, number as u32, &mut found);
        }
        open.text.push(' ');
        let directive = open.text.trim_start();
        if [".version", ".target", ".address_size"].iter().any(|d| directive.starts_with(d)) {
            found.push(Statement { line: number as u32, text: directive.trim().to_owned() });
            open.text.clear();
        }
    }
    found
}

/// The statement being read.
struct Open {
    text: String,
    line: u32,
    braces: usize,
}

impl Open {
    fn close(&mut self, found: &mut Vec<Statement>) {
        let text = std::mem::take(&mut self.text).trim().to_owned();
        found.push(Statement { line: self.line, text });
    }

    fn take(&mut self, character: char, number: u32, found: &mut Vec<Statement>) {
        if self.text.trim().is_empty() {
            self.line = number;
        }
        // Braces of vectors stand inside a statement; those of bodies stand alone or behind a head.
        let alone = self.text.trim().is_empty();
        let behind_head = self.text.trim_end().ends_with(')') || self.text.contains(".maxntid");
        match character {
            ';' => self.close(found),
            '{' if alone || behind_head => {
                self.close(found);
                found.push(Statement { line: number, text: "{".to_owned() });
                self.braces += 1;
            }
            '}' if alone && self.braces > 0 => {
                found.push(Statement { line: number, text: "}".to_owned() });
                self.braces -= 1;
            }
            ':' if self.braces > 0 => {
                self.text.push(':');
                self.close(found);
            }
            other => self.text.push(other),
        }
    }
}

/// Splits at commas outside braces, brackets and parentheses.
pub fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0i32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => (),
        }
    }
    if !text[begin..].trim().is_empty() {
        parts.push(text[begin..].trim());
    }
    parts
}
