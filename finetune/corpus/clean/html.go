package clean

import (
	"html"
	"regexp"
	"strings"
)

// Only elements that HTML has are taken for tags, so that "a < b" and
// "<|endoftext|>" stay, and only entities that end in a semicolon, so that
// addresses with "&copy=1" stay.
var (
	invisible = regexp.MustCompile(`(?is)<!--.*?-->|<!doctype[^<>]*>|<script(?:\s[^<>]*)?>.*?</script\s*>|<style(?:\s[^<>]*)?>.*?</style\s*>`)
	breaks    = regexp.MustCompile(`(?i)<(?:br|hr)(?:\s[^<>]*)?/?>|</(?:p|div|li|tr|h[1-6]|blockquote|section|article|header|footer|table|ul|ol|dl|dt|dd|pre|title|option)\s*>`)
	tags      = regexp.MustCompile(`(?i)</?(?:a|abbr|acronym|address|article|aside|audio|b|base|big|blockquote|body|button|caption|center|cite|code|col|colgroup|dd|del|details|dfn|div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|form|frame|frameset|h[1-6]|head|header|html|i|iframe|img|input|ins|kbd|label|legend|li|link|main|map|mark|meta|nav|noscript|object|ol|optgroup|option|p|param|picture|pre|q|s|samp|section|select|small|source|span|strike|strong|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead|time|title|tr|track|tt|u|ul|var|video|wbr)(?:\s[^<>]*)?/?>`)
	entities  = regexp.MustCompile(`&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});`)
)

// stripHTML leaves the text of what was a web page. The words of scripts and
// styles go with them; where a block ends a line ends.
func stripHTML(s string) string {
	if strings.Contains(s, "<") {
		s = invisible.ReplaceAllString(s, "")
		s = breaks.ReplaceAllString(s, "\n")
		s = tags.ReplaceAllString(s, "")
	}
	if strings.Contains(s, "&") {
		s = entities.ReplaceAllStringFunc(s, html.UnescapeString)
	}
	return s
}
