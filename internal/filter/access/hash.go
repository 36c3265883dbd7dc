package access

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/GehirnInc/crypt"
	"github.com/GehirnInc/crypt/apr1_crypt"
	"github.com/GehirnInc/crypt/md5_crypt"
	"github.com/GehirnInc/crypt/sha256_crypt"
	"github.com/GehirnInc/crypt/sha512_crypt"
	"golang.org/x/crypto/bcrypt"
)

type hashKind uint8

const (
	noHash hashKind = iota // matches nothing
	plainHash
	sha1Hash
	saltedHash
	apr1Hash
	md5Hash
	sha256Hash
	sha512Hash
	bcryptHash
	desHash
)

// Costs are rough microseconds of one verification: they choose the dummy and what is worth remembering.
const slowCost = 100

// The ceilings of S6.4: a Secret must not make each request of a stranger cost seconds.
const (
	maxBcryptCost = 16
	maxRounds     = 1_000_000
)

// hash is one stored password.
type hash struct {
	kind    hashKind
	text    string // as stored
	salt    []byte // decoded, or the setting to hash with
	sum     []byte
	cost    int
	problem string // why nothing matches
}

// parseHash tells the formats of nginx and of its C library apart (reference/annotations.md 9).
func parseHash(s string) hash {
	h := hash{text: s}
	switch {
	case strings.HasPrefix(s, "{PLAIN}"):
		sum := sha256.Sum256([]byte(s[len("{PLAIN}"):]))
		h.kind, h.sum, h.cost = plainHash, sum[:], 1
	case strings.HasPrefix(s, "{SHA}"):
		sum, err := decode64(s[len("{SHA}"):])
		if err != nil || len(sum) != sha1.Size {
			return h.refuse("{SHA} is not followed by the base64 form of 20 bytes")
		}
		h.kind, h.sum, h.cost = sha1Hash, sum, 1
	case strings.HasPrefix(s, "{SSHA}"):
		sum, err := decode64(s[len("{SSHA}"):])
		if err != nil || len(sum) < sha1.Size {
			return h.refuse("{SSHA} is not followed by the base64 form of 20 bytes and a salt")
		}
		h.kind, h.sum, h.salt, h.cost = saltedHash, sum[:sha1.Size], sum[sha1.Size:], 1
	case strings.HasPrefix(s, "$apr1$"):
		return h.crypted(apr1Hash, "$apr1$", 8, 300)
	case strings.HasPrefix(s, "$1$"):
		return h.crypted(md5Hash, "$1$", 8, 300)
	case strings.HasPrefix(s, "$5$"):
		return h.crypted(sha256Hash, "$5$", 16, 0)
	case strings.HasPrefix(s, "$6$"):
		return h.crypted(sha512Hash, "$6$", 16, 0)
	case len(s) > 3 && s[:2] == "$2" && strings.IndexByte("abxy", s[2]) >= 0:
		cost, err := bcrypt.Cost([]byte(s))
		switch {
		case err != nil:
			return h.refuse("the bcrypt hash is malformed")
		case cost > maxBcryptCost:
			return h.refuse(fmt.Sprintf("the bcrypt cost %d is above %d", cost, maxBcryptCost))
		}
		h.kind, h.cost = bcryptHash, 50<<cost
	case isDES(s):
		h.kind, h.salt, h.cost = desHash, []byte(s[:2]), slowCost
	default:
		return h.refuse("the hash has no format lintel knows")
	}
	return h
}

func (h hash) refuse(why string) hash {
	return hash{text: h.text, problem: why}
}

// crypted splits prefix, rounds=N, salt and sum.
func (h hash) crypted(kind hashKind, prefix string, maxSalt, cost int) hash {
	rest := h.text[len(prefix):]
	rounds := ""
	if cost == 0 {
		cost = 5000 / 2
		if r, ok := strings.CutPrefix(rest, "rounds="); ok {
			number, after, ok := strings.Cut(r, "$")
			n, err := strconv.Atoi(number)
			if !ok || err != nil || n < 1000 || n > maxRounds {
				return h.refuse(fmt.Sprintf("rounds is not a number from 1000 to %d", maxRounds))
			}
			rounds, rest, cost = "rounds="+number+"$", after, n/2
		}
	}
	salt, sum, ok := strings.Cut(rest, "$")
	if !ok || sum == "" || strings.Contains(sum, "$") {
		return h.refuse("the hash lacks its salt or its sum")
	}
	h.kind, h.cost = kind, cost
	h.salt = []byte(prefix + rounds + salt[:min(len(salt), maxSalt)])
	h.sum = []byte(sum)
	return h
}

func decode64(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}

// matches compares in constant time. The zero hash matches nothing.
func (h *hash) matches(secret string) bool {
	var got string
	var err error
	switch h.kind {
	case plainHash:
		sum := sha256.Sum256([]byte(secret))
		return subtle.ConstantTimeCompare(sum[:], h.sum) == 1
	case sha1Hash:
		sum := sha1.Sum([]byte(secret))
		return subtle.ConstantTimeCompare(sum[:], h.sum) == 1
	case saltedHash:
		sum := sha1.Sum(append([]byte(secret), h.salt...))
		return subtle.ConstantTimeCompare(sum[:], h.sum) == 1
	case bcryptHash:
		return bcrypt.CompareHashAndPassword([]byte(h.text), []byte(secret)) == nil
	case desHash:
		if strings.IndexByte(secret, 0) >= 0 {
			return false // it would end the password
		}
		return subtle.ConstantTimeCompare([]byte(desCrypt(secret, h.text[:2])), []byte(h.text)) == 1
	case apr1Hash:
		got, err = generate(apr1_crypt.New(), secret, h.salt)
	case md5Hash:
		got, err = generate(md5_crypt.New(), secret, h.salt)
	case sha256Hash:
		got, err = generate(sha256_crypt.New(), secret, h.salt)
	case sha512Hash:
		got, err = generate(sha512_crypt.New(), secret, h.salt)
	default:
		return false
	}
	if err != nil {
		return false // a setting the library refuses matches nothing
	}
	return subtle.ConstantTimeCompare([]byte(got[strings.LastIndexByte(got, '$')+1:]), h.sum) == 1
}

// generate hashes with a setting that ends with the salt. It must not be the whole stored hash:
// the library takes what follows a short salt after rounds= for a part of it.
func generate(c crypt.Crypter, secret string, setting []byte) (string, error) {
	if len(secret) > 256 {
		// compat: the C library's limit for these, which also bounds their cost.
		return "", fmt.Errorf("a password of %d bytes is too long", len(secret))
	}
	return c.Generate([]byte(secret), setting)
}
