// Package docstest reads the documentation for the tests that hold it to what the program does:
// manifests are checked, commands are run, links are followed.
//
// The tests are here, apart from those that run commands, which stand with the command in cmd/lintel.
// What a reader gets wrong: a page is not exempt by being prose. Every block of yaml and sh
// in it is looked at, and a command nobody has said how to run fails the test.
package docstest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Block is one fenced block of a page.
type Block struct {
	File string // below the root, with slashes
	Line int    // of its first line of text
	// Language is the word behind the fence: sh, yaml, go, "".
	Language string
	Text     string
	// Before is the paragraph in front of it.
	Before string
}

// String is where b stands.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.File, b.Line) }

// Pages returns the Markdown files below root, sorted, with slashes. Folders that begin with a dot,
// and those of test data, are left out.
func Pages(root string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) == ".md" {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	return out, err
}

// Blocks returns the fenced blocks of a page in their order. An indented fence keeps none of its indentation.
func Blocks(root, page string) ([]Block, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
	if err != nil {
		return nil, err
	}
	var out []Block
	var open *Block
	var indent string
	var body, before []string
	n, blank := 0, false
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimLeft(line, " ")
		switch {
		case open == nil && strings.HasPrefix(trimmed, "```"):
			indent = line[:len(line)-len(trimmed)]
			language, _, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(trimmed, "```")), " ")
			open = &Block{File: page, Line: n + 1, Language: language, Before: strings.Join(before, " ")}
			body = nil
		case open != nil && strings.HasPrefix(trimmed, "```"):
			open.Text = strings.Join(body, "\n") + "\n"
			out = append(out, *open)
			open, before = nil, nil
		case open != nil:
			body = append(body, strings.TrimPrefix(line, indent))
		case trimmed == "":
			blank = true
		default:
			if blank {
				before = nil
			}
			before, blank = append(before, trimmed), false
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block does not end", open)
	}
	return out, nil
}

// Commands are the lines of a block of sh: comments and empty lines left out, continued lines
// joined, and a comment at the end of a line taken off.
func (b Block) Commands() []string {
	var out []string
	text := strings.ReplaceAll(b.Text, "\\\n", " ")
	for line := range strings.Lines(text) {
		if i := strings.Index(line, " # "); i >= 0 {
			line = line[:i]
		}
		line = strings.Join(strings.Fields(line), " ")
		if line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// Documents are the YAML documents of a block.
func (b Block) Documents() []string {
	var out []string
	for _, d := range strings.Split("\n"+b.Text, "\n---") {
		if strings.TrimSpace(d) != "" {
			out = append(out, strings.TrimPrefix(d, "\n"))
		}
	}
	return out
}
