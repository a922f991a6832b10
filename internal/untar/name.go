package untar

import (
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// entryName converts a name in the archive to a path of this system. It refuses
// ".." even where that stays inside, since no well-meant archive has it.
func entryName(name string) (string, error) {
	switch {
	case name == "":
		return "", refuse("the name is empty")
	case len(name) > maxNameLen:
		return "", refuse("the name is too long")
	case path.IsAbs(name):
		return "", refuse("the name is absolute")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", refuse(`the name contains ".."`)
		}
	}
	name = path.Clean(name)
	if strings.Count(name, "/") >= maxPathDepth {
		return "", exceed(fmt.Sprintf("the path has more than %d parts", maxPathDepth))
	}
	return localName(name)
}

// localName converts a name that is clean and not absolute to a path of this system.
func localName(name string) (string, error) {
	windows := runtime.GOOS == "windows"
	local, err := filepath.Localize(name)
	switch {
	case err == nil && (!windows || !changedByWindows(name)):
		return local, nil
	case windows && !misleadsWindows(name):
		return "", &EntryError{Kind: UnsupportedName, Reason: "Windows does not support the name"}
	}
	return "", refuse("the name is not valid on this system")
}

// changedByWindows reports whether Windows refuses a part of the path or changes it:
// it removes trailing dots and spaces.
func changedByWindows(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasSuffix(part, ".") && part != "." || strings.HasSuffix(part, " ") {
			return true
		}
		if strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || strings.ContainsRune(`<>:"|?*`, r) }) {
			return true
		}
	}
	return false
}

// misleadsWindows reports whether a name has characters that are ordinary elsewhere
// and lead to another place on Windows: a backslash or a drive letter.
func misleadsWindows(name string) bool {
	return strings.ContainsAny(name, "\\\x00") || len(name) > 1 && name[1] == ':'
}

// depth is the number of directories above a path of this system.
func depth(name string) int { return strings.Count(filepath.ToSlash(name), "/") }
