package postgres

import "fmt"

// CheckURL reports what is wrong with a URL, as far as that shows without
// reaching out. The error does not repeat what the URL says.
func CheckURL(url string) error {
	var opts Options
	if _, err := opts.poolConfig(url); err != nil {
		return fmt.Errorf("PostgreSQL store: %w", err)
	}
	return nil
}
