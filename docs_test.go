package herokubuild_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docPage is a Markdown file of the repository.
type docPage struct {
	name   string // with slashes
	blocks []codeBlock
	// anchors are those of the headings, prose is the text without code.
	anchors     map[string]bool
	text, prose string
}

// codeBlock is a fenced block of code.
type codeBlock struct {
	language string
	line     int
	text     string
}

var (
	fence      = regexp.MustCompile("^ *```+ *([a-z]*)")
	heading    = regexp.MustCompile(`^#{1,6} +(.*)$`)
	inlineCode = regexp.MustCompile("`[^`]*`")
)

// docsPages reads all pages that users and contributors read.
func docsPages(t *testing.T) []*docPage {
	t.Helper()
	var pages []*docPage
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := filepath.Glob(filepath.FromSlash(pattern))
		require.NoError(t, err)
		for _, name := range names {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			pages = append(pages, parsePage(filepath.ToSlash(name), string(text)))
		}
	}
	require.NotEmpty(t, pages)
	return pages
}

func parsePage(name, text string) *docPage {
	p := &docPage{name: name, anchors: map[string]bool{}, text: text}
	var prose strings.Builder
	var block *codeBlock
	line := 0
	for text := range strings.Lines(text) {
		line++
		match := fence.FindStringSubmatch(text)
		switch {
		case match != nil && block == nil:
			block = &codeBlock{language: match[1], line: line}
		case match != nil:
			p.blocks = append(p.blocks, *block)
			block = nil
		case block != nil:
			block.text += text
		default:
			if match := heading.FindStringSubmatch(strings.TrimSpace(text)); match != nil {
				p.anchors[anchor(match[1])] = true
			}
			prose.WriteString(inlineCode.ReplaceAllString(text, ""))
		}
	}
	p.prose = prose.String()
	return p
}

// anchor returns the anchor that GitHub gives a heading.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, title)
}

// TestDocsShowOnlyTestedGo expects each block of Go in the documentation to be a part of
// a test, of an Example function or of an example program, which compile and are tested.
func TestDocsShowOnlyTestedGo(t *testing.T) {
	t.Parallel()
	tested := testedCode(t)
	for _, p := range docsPages(t) {
		for _, b := range p.blocks {
			if b.language != "go" {
				continue
			}
			lines := codeLines(b.text)
			assert.NotEmpty(t, lines, "%s:%d: empty block", p.name, b.line)
			found := slices.ContainsFunc(slices.Collect(maps.Values(tested)), func(file string) bool { return strings.Contains(file, lines) })
			assert.True(t, found, "%s:%d: no test or example has these lines:\n%s", p.name, b.line, b.text)
		}
	}
}

// testedCode returns the lines of the files that the documentation may quote.
func testedCode(t *testing.T) map[string]string {
	t.Helper()
	tested := map[string]string{}
	add := func(name string) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		tested[name] = codeLines(string(text))
	}
	for _, pattern := range []string{"*_test.go", "herokutest/*_test.go"} {
		names, err := filepath.Glob(filepath.FromSlash(pattern))
		require.NoError(t, err)
		for _, name := range names {
			add(name)
		}
	}
	err := filepath.WalkDir("examples", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".go") && entry.Type().IsRegular() {
			add(name)
		}
		return err
	})
	require.NoError(t, err)
	return tested
}

// codeLines returns code without indentation, alignment and empty lines. Each line is
// between two line feeds.
func codeLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			b.WriteString("\n" + strings.Join(words, " ") + "\n")
		}
	}
	return b.String()
}

var (
	inlineLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	referenceLink = regexp.MustCompile(`(?m)^\[[^\]]+\]: +(\S+)`)
	htmlLink      = regexp.MustCompile(`(?:href|src|srcset)="([^"]+)"`)
)

func (p *docPage) links() []string {
	var all []string
	for _, pattern := range []*regexp.Regexp{inlineLink, referenceLink, htmlLink} {
		for _, match := range pattern.FindAllStringSubmatch(p.prose, -1) {
			all = append(all, match[1])
		}
	}
	return all
}

// TestLinksInDocsLeadSomewhere expects every link to a file, to a heading, or to this
// package's reference to have a target.
func TestLinksInDocsLeadSomewhere(t *testing.T) {
	t.Parallel()
	pages := map[string]*docPage{}
	for _, p := range docsPages(t) {
		pages[p.name] = p
	}
	source := rootSource(t)
	for _, p := range pages {
		for _, link := range p.links() {
			err := checkLink(p, link, pages, source)
			assert.NoError(t, err, "%s: link to %s", p.name, link)
		}
	}
}

const reference = "https://pkg.go.dev/" + modulePath

func checkLink(from *docPage, link string, pages map[string]*docPage, source string) error {
	target, fragment, _ := strings.Cut(link, "#")
	switch {
	case target == reference && fragment != "":
		return checkSymbol(fragment, source)
	case strings.HasPrefix(target, reference+"/"):
		target, from = strings.TrimPrefix(target, reference+"/"), pages["README.md"]
		fragment = ""
	case strings.Contains(target, "://"):
		return nil
	}
	name := from.name
	if target != "" {
		name = path.Join(path.Dir(from.name), target)
		if _, err := os.Stat(filepath.FromSlash(name)); err != nil {
			return err
		}
	}
	if fragment != "" && (pages[name] == nil || !pages[name].anchors[fragment]) {
		return fmt.Errorf("%s has no heading #%s", name, fragment)
	}
	return nil
}

// checkSymbol returns an error unless the package's reference has a fragment: a heading
// of the package documentation, a name, or a method.
func checkSymbol(fragment, source string) error {
	pattern := `(?m)^(type|func|\t|var|const) ?` + regexp.QuoteMeta(fragment) + `\b`
	if title, ok := strings.CutPrefix(fragment, "hdr-"); ok {
		pattern = `(?m)^// # ` + regexp.QuoteMeta(strings.ReplaceAll(title, "_", " ")) + `$`
	} else if receiver, method, ok := strings.Cut(fragment, "."); ok {
		pattern = `(?m)^func \([a-z]* ?\*?` + regexp.QuoteMeta(receiver) + `\) ` + regexp.QuoteMeta(method) + `\(`
	}
	if !regexp.MustCompile(pattern).MatchString(source) {
		return fmt.Errorf("the package has no %s", fragment)
	}
	return nil
}

// rootSource returns the source of the root package without tests.
func rootSource(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var b strings.Builder
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		b.Write(text)
	}
	return b.String()
}

// programRun matches the command line of a program of this repository.
var programRun = regexp.MustCompile("go run \\./([a-z/]+)((?:\\\\\n|[^#|&`\n])*)")

// TestCommandsInDocsExist expects each program that the documentation runs to exist and
// to have the flags that it is run with.
func TestCommandsInDocsExist(t *testing.T) {
	t.Parallel()
	for _, p := range docsPages(t) {
		for _, match := range programRun.FindAllStringSubmatch(p.text, -1) {
			source := programSource(t, match[1])
			assert.NotEmpty(t, source, "%s: there is no program ./%s", p.name, match[1])
			for _, word := range strings.Fields(match[2]) {
				if name, ok := strings.CutPrefix(word, "-"); ok {
					name, _, _ = strings.Cut(name, "=")
					assert.True(t, strings.Contains(source, `"`+name+`"`), "%s: ./%s has no flag -%s", p.name, match[1], name)
				}
			}
		}
	}
}

func programSource(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.FromSlash(path.Join(dir, "*.go")))
	require.NoError(t, err)
	var b strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		b.Write(text)
	}
	return b.String()
}

// TestCIRunsTheExamplesOfTheREADME expects .ci/run to run each example program that the
// README tells people to run.
func TestCIRunsTheExamplesOfTheREADME(t *testing.T) {
	t.Parallel()
	var ci string
	for _, name := range []string{"run", "article"} {
		text, err := os.ReadFile(filepath.Join(".ci", name))
		require.NoError(t, err)
		ci += string(text)
	}
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, match := range programRun.FindAllStringSubmatch(string(text), -1) {
		if name, ok := strings.CutPrefix(match[1], "examples/"); ok {
			run := regexp.MustCompile(`\./examples/` + name + `\b|'` + name + `=`)
			assert.True(t, run.MatchString(ci), "no part of .ci/run runs ./%s", match[1])
		}
	}
}
