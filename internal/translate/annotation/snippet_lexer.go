package annotation

import (
	"fmt"
	"strings"
)

// Directive is one directive of a snippet: a name, its arguments, and perhaps a block.
type Directive struct {
	Name     string
	Args     []Arg
	Block    []Directive
	HasBlock bool
	// Line and Column count from 1 in the snippet's text.
	Line, Column int
}

// Arg is one word of a directive.
type Arg struct {
	Text         string
	Quoted       bool
	Line, Column int
}

// snippetError is what is wrong with a snippet, and where.
type snippetError struct {
	line, column int
	msg, hint    string
}

func (e *snippetError) Error() string { return lineRef(e.line) + ": " + e.msg }

// maxBlocks bounds the nesting of blocks.
const maxBlocks = 32

// ParseDirectives reads nginx's configuration language as ngx_conf_read_token does: words, quotes,
// backslashes, comments, blocks. It knows no directive.
func ParseDirectives(text string) ([]Directive, error) {
	l := &lexer{text: text, line: 1, column: 1}
	list, err := l.block(0)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// lexer reads a snippet from front to back.
type lexer struct {
	text         string
	at           int
	line, column int
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenSemicolon
	tokenOpen
	tokenClose
)

func (l *lexer) fail(line, column int, format string, args ...any) error {
	return &snippetError{line, column, fmt.Sprintf(format, args...), "write directives as nginx reads them: name arguments;"}
}

// block reads directives up to the closing brace, or the end of the text at depth 0.
func (l *lexer) block(depth int) ([]Directive, error) {
	if depth > maxBlocks {
		return nil, l.fail(l.line, l.column, "blocks are nested deeper than %d", maxBlocks)
	}
	var out []Directive
	var words []Arg
	for {
		kind, word, err := l.next()
		if err != nil {
			return nil, err
		}
		switch kind {
		case tokenWord:
			words = append(words, word)
			continue
		case tokenEnd:
			if len(words) > 0 {
				return nil, l.fail(words[0].Line, words[0].Column, "directive %s does not end with ;", Quote(words[0].Text))
			}
			if depth > 0 {
				return nil, l.fail(l.line, l.column, `"}" is missing`)
			}
			return out, nil
		case tokenClose:
			if len(words) > 0 {
				return nil, l.fail(words[0].Line, words[0].Column, "directive %s does not end with ;", Quote(words[0].Text))
			}
			if depth == 0 {
				return nil, l.fail(word.Line, word.Column, `unexpected "}"`)
			}
			return out, nil
		}
		if len(words) == 0 {
			return nil, l.fail(word.Line, word.Column, "unexpected %s", Quote(word.Text))
		}
		d := Directive{Name: words[0].Text, Args: words[1:], Line: words[0].Line, Column: words[0].Column}
		if kind == tokenOpen {
			d.HasBlock = true
			if d.Block, err = l.block(depth + 1); err != nil {
				return nil, err
			}
		}
		out, words = append(out, d), nil
	}
}

func (l *lexer) advance() byte {
	c := l.text[l.at]
	l.at++
	if c == '\n' {
		l.line++
		l.column = 1
	} else {
		l.column++
	}
	return c
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// next returns the next token.
func (l *lexer) next() (tokenKind, Arg, error) {
	for l.at < len(l.text) {
		c := l.text[l.at]
		if isSpace(c) {
			l.advance()
			continue
		}
		if c == '#' {
			for l.at < len(l.text) && l.text[l.at] != '\n' {
				l.advance()
			}
			continue
		}
		word := Arg{Text: string(c), Line: l.line, Column: l.column}
		switch c {
		case ';':
			l.advance()
			return tokenSemicolon, word, nil
		case '{':
			l.advance()
			return tokenOpen, word, nil
		case '}':
			l.advance()
			return tokenClose, word, nil
		case '"', '\'':
			return l.quoted(word)
		}
		return l.plain(word)
	}
	return tokenEnd, Arg{Line: l.line, Column: l.column}, nil
}

// quoted reads a word in quotes. What follows must end the word.
func (l *lexer) quoted(word Arg) (tokenKind, Arg, error) {
	quoteByte := l.advance()
	var b strings.Builder
	for l.at < len(l.text) {
		c := l.advance()
		switch {
		case c == '\\' && l.at < len(l.text):
			unescape(&b, l.advance())
		case c == quoteByte:
			if l.at < len(l.text) {
				if n := l.text[l.at]; !isSpace(n) && n != ';' && n != '{' && n != ')' {
					return 0, word, l.fail(l.line, l.column, "unexpected %s after a closing quote", Quote(string(n)))
				}
			}
			word.Text, word.Quoted = b.String(), true
			return tokenWord, word, nil
		default:
			b.WriteByte(c)
		}
	}
	return 0, word, l.fail(word.Line, word.Column, "the closing %c is missing", quoteByte)
}

// plain reads a word without quotes. "${" does not open a block.
func (l *lexer) plain(word Arg) (tokenKind, Arg, error) {
	var b strings.Builder
	variable := false
	for l.at < len(l.text) {
		c := l.text[l.at]
		if isSpace(c) || c == ';' || (c == '{' && !variable) {
			break
		}
		l.advance()
		if c == '\\' && l.at < len(l.text) {
			unescape(&b, l.advance())
			variable = false
			continue
		}
		variable = c == '$'
		b.WriteByte(c)
	}
	word.Text = b.String()
	return tokenWord, word, nil
}

// unescape writes what a backslash and c mean. The backslash stays before what needs none, as
// regular expressions want it.
func unescape(b *strings.Builder, c byte) {
	switch c {
	case '"', '\'', '\\':
		b.WriteByte(c)
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'n':
		b.WriteByte('\n')
	default:
		b.WriteByte('\\')
		b.WriteByte(c)
	}
}
