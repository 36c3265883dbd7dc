package diag

import (
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"
	"strings"
)

// The parts of SARIF 2.1.0 that lintel writes (OASIS, Static Analysis Results
// Interchange Format).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string    `json:"id"`
		Short sarifText `json:"shortDescription"`
		Full  sarifText `json:"fullDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
	}
	sarifLogical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
)

// WriteSARIF writes ds as a SARIF 2.1.0 log, which code hosts show beside the lines
// of a change. version is lintel's own; "" leaves it out.
func WriteSARIF(w io.Writer, ds []Diagnostic, version string) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{
		Name: "lintel", Version: version, InformationURI: "https://github.com/lintel-ingress/lintel",
	}
	index := map[Code]int{}
	for i, e := range catalogue {
		index[e.Code] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{string(e.Code), sarifText{e.Title}, sarifText{e.Help}})
	}
	for _, d := range ds {
		at, ok := index[d.Code]
		if !ok {
			at = -1
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: string(d.Code), RuleIndex: at, Level: level(d.Severity),
			Message: sarifText{sarifMessage(d)}, Locations: []sarifLocation{location(d)},
		})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func level(s Severity) string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	}
	return "note"
}

func sarifMessage(d Diagnostic) string {
	m := d.Message
	if key, ok := mapKey(d.Field); ok && !strings.Contains(m, key) {
		m = key + ": " + m
	}
	if d.Hint != "" {
		m += " (" + d.Hint + ")"
	}
	return m
}

func location(d Diagnostic) sarifLocation {
	var l sarifLocation
	if d.Pos.File != "" {
		// A relative path is a relative reference, which viewers resolve against the checkout.
		p := filepath.ToSlash(d.Pos.File)
		u := url.URL{Path: p}
		if strings.HasPrefix(p, "/") {
			u.Scheme = "file"
		}
		l.Physical = &sarifPhysical{Artifact: sarifArtifact{u.String()}}
		if d.Pos.Line > 0 {
			l.Physical.Region = &sarifRegion{d.Pos.Line, max(d.Pos.Column, 1)}
		}
	}
	if d.Object != (Ref{}) {
		name := d.Object.String()
		if d.Field != "" {
			name += " " + d.Field
		}
		l.Logical = []sarifLogical{{name, "object"}}
	}
	return l
}
