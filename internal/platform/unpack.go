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

// maxName bounds the name of an entry, which may be a megabyte long.
const maxName = 4096

// maxPadding bounds what may follow the end of an archive.
const maxPadding = 64 << 20

type unpackLimits struct {
	bytes   int64 // that the tree may take
	entries int   // that the archive may have
}

func (p *Platform) unpackLimits() unpackLimits {
	return unpackLimits{bytes: p.opts.MaxSourceBytes, entries: p.opts.MaxSourceFiles}
}

// unpack writes a gzip-compressed tar archive to a directory. The archive is
// not trusted: nothing is written or linked outside of the directory, and there
// are bounds on what is written.
func unpack(ctx context.Context, src io.Reader, dir string, limits unpackLimits) error {
	zr, err := gzip.NewReader(bufio.NewReader(&ctxReader{ctx, src}))
	if err != nil {
		return fmt.Errorf("not a gzip-compressed tar archive: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
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
			return err
		}
		// Checked before anything is written. Sparse files declare here what
		// they unfold to.
		if limits.bytes -= hdr.Size; hdr.Size < 0 || limits.bytes < 0 {
			return fmt.Errorf("entry %q makes the tree too large", abbreviated(hdr.Name))
		}
		if err := u.entry(tr, hdr); err != nil {
			return fmt.Errorf("entry %q: %w", abbreviated(hdr.Name), err)
		}
	}
	// What follows the archive is padding, but a file that was cut short shows
	// only here.
	if n, err := io.Copy(io.Discard, io.LimitReader(zr, maxPadding)); err != nil {
		return err
	} else if n == maxPadding {
		return errors.New("too much data after the end of the archive")
	}
	return checkLinks(root)
}

func abbreviated(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

// unpacker holds what has to be known from one entry to the next.
type unpacker struct {
	root *os.Root
	left int             // how many files and directories may still come
	dirs map[string]bool // that are there
}

var errTooMany = errors.New("too many files and directories")

// mkdir makes a directory with its parents, which count like entries: a single
// name can stand for thousands of them.
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
	// MkdirAll takes a link to a directory for one.
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
			return errors.New("is the root and not a directory")
		}
		return nil
	}
	if hdr.Typeflag == tar.TypeDir {
		u.left++ // mkdir counts it
		return u.mkdir(name)
	}
	if err := u.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	// A later entry replaces an earlier one instead of writing through it, be
	// it a link.
	if old, err := root.Lstat(name); err == nil && !old.IsDir() {
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return unpackFile(root, name, 0o600|mode, r)
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

// entryName makes a local path of the name of an entry. Names with ".." are
// refused even where they stay inside, as GNU tar does.
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

// localLink looks at the text of a symbolic link only. Through other links it
// can still lead out, which checkLinks finds.
func localLink(name, target string) bool {
	return target != "" && len(target) <= maxName && !filepath.IsAbs(target) && filepath.IsLocal(filepath.Join(filepath.Dir(name), target))
}

func unpackFile(root *os.Root, name string, mode fs.FileMode, r io.Reader) (err error) {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	return f.Chmod(mode) // the umask is not the archive's
}

// checkLinks follows every symbolic link of a tree. One may lead nowhere, but
// not out of the tree.
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

// stripTopDir moves an unpacked tree to where it shall be, without the one
// directory around everything that archives made by GitHub have.
func stripTopDir(tree, into string) error {
	entries, err := os.ReadDir(tree)
	if err != nil {
		return err
	}
	if len(entries) != 1 || !entries[0].IsDir() {
		return os.Rename(tree, into)
	}
	if err := os.Rename(filepath.Join(tree, entries[0].Name()), into); err != nil {
		return err
	}
	// The tree has become smaller, and links may lead out of what is left.
	root, err := os.OpenRoot(into)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only a handle
	return checkLinks(root)
}

// ctxReader ends with its context.
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
