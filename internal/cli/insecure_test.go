package cli

import "crypto/tls"

// insecure is for a test that looks at the public door as a stranger does.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
