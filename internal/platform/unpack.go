package platform

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// maxName limits the length of the name of an entry, which tar does not.
const maxName = 4096

// maxPadding limits the size of the data after the end of an archive.
const maxPadding = 64 << 20

type unpackLimits struct {
	bytes   int64 // total size of all files
	entries int   // number of files and directories
}

func (p *Platform) unpackLimits() unpackLimits {
	return unpackLimits{bytes: p.opts.MaxSourceBytes, entries: p.opts.MaxSourceFiles}
}

// unpack unpacks a gzip-compressed tar archive into a directory. The archive is
// not trusted: nothing is written outside of the directory, no link leads out
// of it, and the limits bound what is written. It reports whether the archive
// has an entry for the directory itself, as that of "tar -C dir ." has.
func unpack(ctx context.Context, src io.Reader, dir string, limits unpackLimits) (rooted bool, err error) {
	zr, err := gzip.NewReader(bufio.NewReader(&ctxReader{ctx, src}))
	if err != nil {
		return false, fmt.Errorf("not a gzip-compressed tar archive: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close() //nolint:errcheck // only a handle

	u := unpacker{root: root, left: limits.entries, dirs: map[string]bool{".": true}}
	tr := tar.NewReader(zr)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
		// The size is checked before anything is written. That of a sparse file
		// includes its holes.
		if limits.bytes -= hdr.Size; hdr.Size < 0 || limits.bytes < 0 {
			return false, fmt.Errorf("entry %q makes the tree too large", abbreviated(hdr.Name))
		}
		if err := u.entry(tr, hdr); err != nil {
			return false, fmt.Errorf("entry %q: %w", abbreviated(hdr.Name), err)
		}
	}
	// The rest is padding, but only reading it reveals a truncated file.
	if n, err := io.Copy(io.Discard, io.LimitReader(zr, maxPadding)); err != nil {
		return false, err
	} else if n == maxPadding {
		return false, errors.New("too much data after the end of the archive")
	}
	return u.rooted, checkLinks(root)
}

func abbreviated(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

// unpacker unpacks the entries of one archive.
type unpacker struct {
	root   *os.Root
	left   int             // remaining number of files and directories
	dirs   map[string]bool // existing directories
	rooted bool            // the root has an entry
}

var errTooMany = errors.New("too many files and directories")

// mkdir creates a directory and its parents. The parents count as entries,
// since a single name can imply thousands of them.
func (u *unpacker) mkdir(name string) error {
	if u.dirs[name] {
		return nil
	}
	if err := u.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	if u.left--; u.left < 0 {
		return errTooMany
	}
	// MkdirAll accepts a link to a directory as a directory.
	if err := u.root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	u.dirs[name] = true
	return nil
}

func (u *unpacker) entry(r io.Reader, hdr *tar.Header) error {
	root := u.root
	if u.left--; u.left < 0 {
		return errTooMany
	}
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := entryName(hdr.Name)
	if err != nil {
		return err
	}
	mode := fs.FileMode(hdr.Mode) & 0o777 //nolint:gosec // masked
	if name == "." {
		if hdr.Typeflag != tar.TypeDir {
			return errors.New("the root is not a directory")
		}
		u.rooted = true
		return nil
	}
	if hdr.Typeflag == tar.TypeDir {
		u.left++ // mkdir counts it
		return u.mkdir(name)
	}
	if err := u.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	// An entry replaces an earlier one of the same name, which must not be
	// written through if it is a link.
	if old, err := root.Lstat(name); err == nil && !old.IsDir() {
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return writeFile(root, name, 0o600|mode, r)
	case tar.TypeSymlink:
		target := filepath.FromSlash(hdr.Linkname)
		if !localLink(name, target) {
			return fmt.Errorf("symbolic link to %q leaves the archive", abbreviated(hdr.Linkname))
		}
		return root.Symlink(target, name)
	case tar.TypeLink:
		target, err := entryName(hdr.Linkname)
		if err != nil {
			return fmt.Errorf("hard link to %q: %w", abbreviated(hdr.Linkname), err)
		}
		if info, err := root.Lstat(target); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("hard link to %q, which is not a file of the archive", abbreviated(hdr.Linkname))
		}
		return root.Link(target, name)
	default:
		return fmt.Errorf("entries of type %q are not allowed", hdr.Typeflag)
	}
}

// entryName returns the local path for the name of an entry. Like GNU tar, it
// rejects every name that contains "..", even if it would stay inside the
// directory.
func entryName(name string) (string, error) {
	if len(name) > maxName {
		return "", errors.New("the name is too long")
	}
	if path.IsAbs(name) {
		return "", errors.New("the name is absolute")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New(`the name contains ".."`)
		}
	}
	local, err := filepath.Localize(path.Clean(name))
	if err != nil || name == "" {
		return "", errors.New("the name is not valid")
	}
	return local, nil
}

// localLink reports whether the target of a symbolic link is inside the
// directory. It does not follow other links; checkLinks does.
func localLink(name, target string) bool {
	return target != "" && len(target) <= maxName && !filepath.IsAbs(target) && filepath.IsLocal(filepath.Join(filepath.Dir(name), target))
}

// checkLinks follows every symbolic link of a tree. A link may be dangling, but
// must not lead out of the tree.
func checkLinks(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return err
		}
		if _, err := root.Stat(filepath.FromSlash(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("symbolic link %q leaves the archive: %w", abbreviated(name), err)
		}
		return nil
	})
}

// place moves an unpacked tree to its final place. If everything is in a single
// top-level directory, as in archives from GitHub, that directory is removed,
// unless the archive names its root itself.
func place(tree, into string, rooted bool) error {
	entries, err := os.ReadDir(tree)
	if err != nil {
		return err
	}
	if rooted || len(entries) != 1 || !entries[0].IsDir() {
		return os.Rename(tree, into)
	}
	if err := os.Rename(filepath.Join(tree, entries[0].Name()), into); err != nil {
		return err
	}
	// Links may lead out of what has become the root.
	root, err := os.OpenRoot(into)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only a handle
	return checkLinks(root)
}

// ctxReader returns the error of its context once that has ended.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
