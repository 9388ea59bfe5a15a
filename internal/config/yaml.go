package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"
)

// yamlParser reads a config file for koanf: one flat mapping of keys to values
// or lists of values. It keeps each value's text as it was written, so that a
// port may be a string or a number and 0777 stays what it looks like, and it
// remembers lines for error messages.
type yamlParser struct {
	lines map[string]int // by key as written
}

// Unmarshal returns the file's keys, as written, with a string or []any of
// strings each; a key without a value is left out.
func (p *yamlParser) Unmarshal(b []byte) (map[string]any, error) {
	root, err := document(b)
	if err != nil || root == nil {
		return nil, err
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: expected lines of the form `key: value`", root.Line)
	}
	out := map[string]any{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if first, twice := p.lines[key.Value]; twice {
			return nil, fmt.Errorf("line %d: %q stands in line %d already", key.Line, key.Value, first)
		}
		p.lines[key.Value] = key.Line
		v, err := text(value)
		if err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", key.Line, key.Value, err)
		}
		if v != nil {
			out[key.Value] = v
		}
	}
	return out, nil
}

// Marshal is there for koanf's interface only.
func (p *yamlParser) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.New("config files are not written")
}

// document returns the root of the only document, nil if there is none.
func document(b []byte) (*yaml.Node, error) {
	l, err := yaml.NewLoader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("reading YAML: %w", err)
	}
	var doc, second yaml.Node
	if err := l.Load(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("this is no YAML: %w", err)
	}
	if err := l.Load(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document stands in the file")
	}
	if doc.Kind != yaml.DocumentNode {
		return &doc, nil
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	return doc.Content[0], nil
}

// text returns a node's text: nil, a string, or []any of strings.
func text(n *yaml.Node) (any, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil, nil
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode:
		all := []any{}
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, errors.New("a list may have plain values only")
			}
			all = append(all, item.Value)
		}
		return all, nil
	}
	return nil, errors.New("expected a value, not a mapping")
}
