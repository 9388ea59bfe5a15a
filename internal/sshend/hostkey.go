package sshend

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/crypto/ssh"
)

// hostKey loads the host key, or makes it where there is none. A key that can't
// be read is an error and never replaced: its clients would see a changed key.
func hostKey(path string) (ssh.Signer, error) {
	signer, err := loadHostKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return signer, err
	}
	if err := makeHostKey(path); err != nil {
		return nil, fmt.Errorf("the ssh host key can't be made: %w", err)
	}
	return loadHostKey(path)
}

func loadHostKey(path string) (ssh.Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the ssh host key: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the ssh host key %s can be read by others: chmod 600 it", path)
	}
	b, err := readLimited(path, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("the ssh host key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("the ssh host key %s: %w", path, err)
	}
	return signer, nil
}

// makeHostKey writes a new key under a temporary name and links it into place,
// so neither a crash nor a second relay ever leaves or replaces half a key.
func makeHostKey(path string) (err error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(priv, "jumpget relay")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".ssh_host_key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeIfThere(f.Name())) }()
	_, err = f.Write(pem.EncodeToMemory(block))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		// A file system without hard links.
		if err := os.Rename(f.Name(), path); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// syncDir keeps the key's name through a power loss; Windows cannot.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
