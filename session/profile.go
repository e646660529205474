package session

import "time"

// Strict returns the policy for authentication assurance level 3 (NIST SP
// 800-63B-4) and level 3 of OWASP ASVS 5.0: sessions end after 12 hours and
// after at most 15 minutes without use, the interval between two notes of it
// included; secrets are regenerated every 15 minutes where the client can be
// told; and an id that another principal presents ends its session. The zero
// Policy is the other profile, of level 2, whose idle timeout of 2 hours
// exceeds the hour that NIST gives for assurance level 2.
func Strict() Policy {
	const touch = 15 * time.Second
	return Policy{
		AbsoluteLifetime:   12 * time.Hour,
		IdleTimeout:        15*time.Minute - touch,
		TouchInterval:      touch,
		RegenerateInterval: 15 * time.Minute,
		Binding:            Binding{Principal: End},
	}
}
