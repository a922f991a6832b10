package herokubuild_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const modulePath = "github.com/herokubuild/herokubuild"

// mayImport has the packages of this module that each package may import, and the
// modules that only some packages may import. CONTRIBUTING.md shows it as a diagram.
var mayImport = map[string][]string{
	".": {
		"internal/callback", "internal/check", "internal/clean", "internal/download", "internal/gate", "internal/git", "internal/health", "internal/history", "internal/identity", "internal/ioutil",
		"internal/jsonlimit", "internal/logstream", "internal/netrc", "internal/pace", "internal/paging", "internal/procfile", "internal/redact",
		"internal/sourcetree", "internal/targz", "internal/transport", "internal/untar", "internal/wire",
		"github.com/google/go-querystring/query",
	},
	"internal/callback":   nil,
	"internal/check":      {"internal/clean", "internal/redact", "internal/transport"},
	"internal/clean":      nil,
	"internal/download":   {"internal/ioutil", "internal/transport"},
	"internal/gate":       nil,
	"internal/git":        nil,
	"internal/health":     {"internal/ioutil"},
	"internal/identity":   nil,
	"internal/history":    nil,
	"internal/ioutil":     nil,
	"internal/jsonlimit":  nil,
	"internal/logstream":  {"internal/ioutil"},
	"internal/netrc":      nil,
	"internal/pace":       {"internal/ioutil"},
	"internal/paging":     {"internal/clean"},
	"internal/procfile":   {"internal/clean"},
	"internal/redact":     {"internal/clean"},
	"internal/sourcetree": {"internal/clean", "internal/git", "internal/ioutil"},
	"internal/targz":      {"github.com/klauspost/pgzip"},
	"internal/transport":  {"internal/ioutil", "github.com/hashicorp/go-retryablehttp"},
	"internal/untar":      {"internal/clean", "internal/ioutil"},
	"internal/wire": {
		"internal/clean", "internal/jsonlimit", "internal/logstream", "internal/paging", "internal/redact", "internal/transport",
	},

	// Of the rest, nothing is imported by the library.
	"herokutest":            {".", "internal/platform"},
	"internal/memnet":       nil,
	"internal/platform":     {"internal/memnet"},
	"internal/testenv":      nil,
	"internal/peak":         nil,
	"internal/picture":      nil,
	"internal/bench":        {".", "internal/platform", "internal/peak"},
	"internal/archivebench": {".", "internal/peak"},
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		dir := filepath.ToSlash(name)
		if dir != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || isOtherModule(dir)) {
			return filepath.SkipDir
		}
		checkImports(t, dir, seen)
		return nil
	})
	require.NoError(t, err)
	for dir := range mayImport {
		assert.True(t, seen[dir], "there is no package %s", dir)
	}
}

// isOtherModule reports whether a directory belongs to a module of its own, whose
// go.mod restricts what it imports.
func isOtherModule(dir string) bool { return dir == "examples" || dir == "internal/conformance" }

func checkImports(t *testing.T, dir string, seen map[string]bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.FromSlash(path.Join(dir, "*.go")))
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		allowed, known := mayImport[dir]
		assert.True(t, known, "package %s is not in mayImport", dir)
		seen[dir] = true
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if isStandard(imported) {
				continue
			}
			if imported == modulePath {
				imported = "."
			}
			imported = strings.TrimPrefix(imported, modulePath+"/")
			assert.True(t, slices.Contains(allowed, imported), "%s must not import %s", name, imported)
		}
	}
}

func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// Programs are to be copied, and internal packages cannot be.
func TestExamplesImportPublicPackagesOnly(t *testing.T) {
	t.Parallel()
	checked := 0
	err := filepath.WalkDir("examples", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			assert.False(t, strings.HasPrefix(strings.Trim(spec.Path.Value, `"`), modulePath+"/internal/"), "%s imports %s", name, spec.Path.Value)
		}
		checked++
		return nil
	})
	require.NoError(t, err)
	assert.Positive(t, checked)
}
